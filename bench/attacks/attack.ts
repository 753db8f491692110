/** One way to hurt a server, and the numbers that show whether it did. */
export interface Attack {
  readonly name: string;
  /**
   * Attacks a server of a built checkout, which it starts itself.
   * @returns figures by name, with their units in the name.
   */
  readonly run: (checkout: string) => Promise<Readonly<Record<string, number | string>>>;
}
