/** Why an architecture of open_clip is not served, and the nearest checkpoint that is. */
export interface Refusal {
  readonly what: string;
  readonly nearest: string;
}

const RESNET = 'a ResNet as image tower';
const CONVNEXT = 'a ConvNeXt of timm as image tower';
const SIGLIP = 'a SigLIP, which compares by a sigmoid and has an image tower of timm';
const CLIPA = 'a CLIPA, which pools otherwise and has a tokenizer of BERT';
const COCA = 'a CoCa, which writes texts';
const TEXT_TOWER = 'a text tower of transformers';
const EVA = 'an EVA of timm as image tower';
const PERCEPTION = 'a Perception Encoder of timm as image tower';
const VITAMIN = 'a ViTamin of timm as image tower';
const MOBILE = 'a MobileCLIP, whose image tower is of timm';
const WORLDWIDE = 'a MetaCLIP 2, which has a tokenizer of XLM-V';

const SMALL = 'ViT-B-32:laion2b_s34b_b79k';
const BASE = 'ViT-B-16:datacomp_xl_s13b_b90k';
const LARGE = 'ViT-L-14:datacomp_xl_s13b_b90k';
const LARGE_336 = 'ViT-L-14-336:openai';
const HUGE = 'ViT-H-14:laion2b_s32b_b79k';
const HUGE_378 = 'ViT-H-14-378:dfn5b';
const GIGANTIC = 'ViT-bigG-14:laion2b_s39b_b160k';

/** By the architecture's name; the first that fits counts. Sizes of images and towers say which is near. */
const refusals: readonly (readonly [architecture: RegExp, what: string, nearest: string])[] = [
  [/^RN(?:50|101)(?:-quickgelu)?$/, RESNET, 'ViT-B-32:openai'],
  [/^RN50x4(?:-quickgelu)?$/, RESNET, 'ViT-B-16:openai'],
  [/^RN50x(?:16|64)(?:-quickgelu)?$/, RESNET, 'ViT-L-14:openai'],
  [/^convnext_(?:tiny|small|base|base_w|base_w_320)$/, CONVNEXT, 'ViT-B-16:laion2b_s34b_b88k'],
  [/^convnext_(?:large|large_d|large_d_320|xlarge)$/, CONVNEXT, 'ViT-L-14:laion2b_s32b_b82k'],
  [/^convnext_xxlarge(?:_320)?$/, CONVNEXT, HUGE],
  [/^coca_ViT-L-14$/, COCA, 'ViT-L-14:laion2b_s32b_b82k'],
  [/^coca_(?:base|(?:roberta-)?ViT-B-32)$/, COCA, SMALL],
  [/^nllb-clip-large|^(?:xlm-roberta-large|mt5-xl)-ViT-H-14/, TEXT_TOWER, HUGE],
  [/^nllb-clip|^(?:xlm-roberta-base|roberta|mt5-base)-ViT-B-32/, TEXT_TOWER, SMALL],
  [/^EVA02-B/, EVA, BASE],
  [/^EVA02-L-14-336/, EVA, LARGE_336],
  [/^EVA02-L/, EVA, LARGE],
  [/^EVA01-g/, EVA, 'ViT-g-14:laion2b_s34b_b88k'],
  [/^EVA02-E/, EVA, GIGANTIC],
  [/^ViT-B-\d+-SigLIP/, SIGLIP, BASE],
  [/^ViT-L-16-SigLIP/, SIGLIP, LARGE],
  [/^ViT-(?:SO400M|gopt)-\d+-SigLIP2?-(?:378|384|512)/, SIGLIP, HUGE_378],
  [/^ViT-(?:SO400M|gopt)-\d+-SigLIP/, SIGLIP, HUGE],
  [/^ViT-L-14-CLIPA/, CLIPA, LARGE],
  [/^ViT-H-14-CLIPA/, CLIPA, HUGE],
  [/^ViT-bigG-14-CLIPA/, CLIPA, GIGANTIC],
  [/^MobileCLIP2-(?:S4|L)/, MOBILE, LARGE],
  [/^MobileCLIP2?-/, MOBILE, BASE],
  [/^ViTamin-(?:S|B)/, VITAMIN, BASE],
  [/^ViTamin-L/, VITAMIN, LARGE],
  [/^ViTamin-XL/, VITAMIN, HUGE],
  [/^PE-Core-L/, PERCEPTION, LARGE_336],
  [/^PE-Core-bigG/, PERCEPTION, GIGANTIC],
  [/^PE-Core-/, PERCEPTION, BASE],
  [/^ViT-H-14-worldwide/, WORLDWIDE, 'ViT-H-14:metaclip_fullcc'],
  [/^ViT-bigG-14-worldwide/, WORLDWIDE, 'ViT-bigG-14:metaclip_fullcc'],
];

/** @param architecture as open_clip names it, without the tag of a checkpoint. */
export function refusalOf(architecture: string): Refusal | undefined {
  const found = refusals.find(([pattern]) => pattern.test(architecture));
  return found && { what: found[1], nearest: found[2] };
}
