import { grpcDoors } from './grpc-doors.ts';
import { httpDoors } from './http-doors.ts';
import { lambdaDoors } from './lambda-doors.ts';
import type { DoorUnderContract } from './request.ts';

/** Every door that the contract suite asks. A new door is one line in the list of its platform. */
export const everyDoor: readonly DoorUnderContract[] = [...httpDoors, ...grpcDoors, ...lambdaDoors];
