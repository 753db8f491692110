/** Names that a request uses and nobody reads: a message says which name was meant. */

/** Names that other services give to an input, and the inputs that may be meant, the likeliest first. */
const usualNames: Readonly<Record<string, readonly string[]>> = {
  image: ['img_url', 'img_uri', 'img'],
  images: ['img_url', 'img_uri', 'img'],
  imageurl: ['img_url', 'img_uri', 'img'],
  imagebase64: ['img_url', 'img_blob', 'img'],
  img: ['img_url', 'img_uri'],
  imgurl: ['img_uri', 'img'],
  file: ['img_url', 'img'],
  picture: ['img_url', 'img'],
  photo: ['img_url', 'img'],
  url: ['img_url', 'img_uri', 'img'],
  uri: ['img_url', 'img_uri', 'img'],
  prompt: ['question', 'text', 'txt'],
  txt: ['question', 'text'],
  text: ['question', 'txt'],
  texts: ['text'],
  textinput: ['question', 'text'],
  query: ['question'],
  caption: ['text'],
  captions: ['text'],
  labels: ['text', 'candidates'],
  candidatelabels: ['text', 'candidates'],
  answers: ['candidates'],
  answerlist: ['candidates'],
  choices: ['candidates'],
  beams: ['num_beams'],
  beamsize: ['num_beams'],
  beamwidth: ['num_beams'],
  usebeamsearch: ['num_beams'],
  maxtokens: ['max_new_tokens'],
  maxoutputtokens: ['max_new_tokens'],
  numpredict: ['max_new_tokens'],
  mintokens: ['min_new_tokens'],
  sample: ['do_sample'],
  sampling: ['do_sample'],
  usenucleussampling: ['do_sample'],
  numcaptions: ['num_return_sequences'],
  n: ['num_return_sequences'],
  bestof: ['num_return_sequences'],
  repeatpenalty: ['repetition_penalty'],
  topk: ['rerank_top_k'],
  randomseed: ['seed'],
};

/** Longer names are not compared: no known name is as long. */
const MAX_COMPARED_CHARACTERS = 40;

/** The end of a sentence that says which of the known names is meant: `: did you mean num_beams?`, or `.` without one. */
export function suggestion(name: string, known: readonly string[]): string {
  const meant = meantName(name, known);
  return meant === undefined ? '.' : `: did you mean ${meant}?`;
}

/** The known name that is likely meant. */
export function meantName(name: string, known: readonly string[]): string | undefined {
  if (name.length > MAX_COMPARED_CHARACTERS) return undefined;
  const letters = lettersOf(name);
  const usual = Object.hasOwn(usualNames, letters) ? (usualNames[letters] ?? []) : [];
  const exact = known.find((each) => lettersOf(each) === letters) ?? usual.find((each) => known.includes(each));
  if (exact !== undefined) return exact;
  const distances = known.map((each) => ({ each, distance: editDistance(letters, lettersOf(each)) }));
  const nearest = distances.sort((one, other) => one.distance - other.distance)[0];
  return nearest !== undefined && nearest.distance <= Math.min(3, Math.floor(letters.length / 3))
    ? nearest.each
    : undefined;
}

/** `maxNewTokens`, `max-new-tokens` and `max_new_tokens` have the same letters. */
function lettersOf(name: string): string {
  return name.toLowerCase().replace(/[^a-z0-9]/g, '');
}

/** How many letters must be changed, added, left out, or exchanged with the next one (optimal string alignment). */
function editDistance(one: string, other: string): number {
  const rows = [Array.from({ length: other.length + 1 }, (_, column) => column)];
  const at = (row: number, column: number) => rows[row]?.[column] ?? Number.POSITIVE_INFINITY;
  for (let row = 1; row <= one.length; row += 1) {
    rows.push([row]);
    for (let column = 1; column <= other.length; column += 1) {
      const isSame = one[row - 1] === other[column - 1];
      const isExchanged = one[row - 1] === other[column - 2] && one[row - 2] === other[column - 1];
      const changed = at(row - 1, column - 1) + (isSame ? 0 : 1);
      const exchanged = isExchanged ? at(row - 2, column - 2) + 1 : Number.POSITIVE_INFINITY;
      rows[row]?.push(Math.min(at(row - 1, column) + 1, at(row, column - 1) + 1, changed, exchanged));
    }
  }
  return at(one.length, other.length);
}
