// The prompt and its tokens, as ovsslib.pnp.prompt and BERT's WordPiece tokenizer make them.

const PUNCTUATION = /[!-/:-@[-`{-~]|\p{P}/u;
const IDEOGRAPHS = [
  [0x4e00, 0x9fff], [0x3400, 0x4dbf], [0x20000, 0x2a6df], [0x2a700, 0x2b73f], [0x2b740, 0x2b81f],
  [0x2b820, 0x2ceaf], [0xf900, 0xfaff], [0x2f800, 0x2fa1f],
];

/** Words and punctuation marks of a text, lower case and without accents. */
function words(text) {
  let clean = "";
  for (const mark of text) {
    const code = mark.codePointAt(0);
    if (/[\t\n\r]|\p{White_Space}/u.test(mark)) clean += " ";
    else if (code === 0xfffd || /\p{C}/u.test(mark)) continue;
    else if (IDEOGRAPHS.some(([low, high]) => code >= low && code <= high)) clean += ` ${mark} `;
    else clean += mark;
  }
  const plain = clean.normalize("NFD").replace(/\p{Mn}/gu, "");
  const lower = Array.from(plain, (mark) => mark.toLowerCase()).join("");
  return lower.split(" ").flatMap((word) => {
    const parts = [""];
    for (const mark of word) {
      if (PUNCTUATION.test(mark)) parts.push(mark, "");
      else parts[parts.length - 1] += mark;
    }
    return parts.filter(Boolean);
  });
}

/** Longest known pieces from the left; one [UNK] where a word has a part that is not known. */
function pieces(word, vocabulary, unknown, most) {
  const marks = Array.from(word);
  if (marks.length > most) return [unknown];
  const ids = [];
  for (let start = 0; start < marks.length; ) {
    let stop = marks.length;
    const piece = () => (start ? "##" : "") + marks.slice(start, stop).join("");
    while (stop > start && !Object.hasOwn(vocabulary, piece())) stop--;
    if (stop === start) return [unknown];
    ids.push(vocabulary[piece()]);
    start = stop;
  }
  return ids;
}

/**
 * A tokenizer out of the content of a BERT model's tokenizer.json.
 * @returns {(text: string) => {id: number, unknown: boolean}[]} The tokens of a text without those
 *   before and after it.
 */
export function makeTokenizer({ model, added_tokens: added }) {
  const special = new Map(added.map((token) => [token.content, token.id]));
  const escaped = [...special.keys()].map((word) => word.replace(/[[\]]/g, "\\$&"));
  const cut = new RegExp(`(${escaped.join("|")})`);
  const unknown = model.vocab[model.unk_token];
  const limit = model.max_input_chars_per_word;
  return (text) =>
    text.split(cut).flatMap((part) =>
      special.has(part)
        ? [{ id: special.get(part), unknown: special.get(part) === unknown }]
        : words(part)
            .flatMap((word) => pieces(word, model.vocab, unknown, limit))
            .map((id) => ({ id, unknown: id === unknown })),
    );
}

/** Class names out of a text with commas; throws an Error that says what is wrong with one. */
export function splitClasses(text) {
  const names = text.split(",").map((name) => name.split(/\s+/).filter(Boolean).join(" "));
  if (!names.some(Boolean)) throw new Error("Type at least one class name.");
  const kept = names.filter(Boolean); // a comma at the end, while somebody types
  const seen = new Set();
  for (const name of kept) {
    const key = name.normalize("NFC").toLowerCase();
    if (seen.has(key)) throw new Error(`The class “${name}” is given twice.`);
    seen.add(key);
  }
  return kept;
}

/**
 * Class names in as few prompts as the model's positions allow.
 * @returns {{text: string, ids: number[], spans: number[][], unknown: string[]}[]} Prompts; `spans`
 *   are the positions of each name's tokens, `unknown` names with characters the model lacks.
 */
export function buildPrompts(names, { tokenizer, max_tokens: most, config }) {
  const tokenize = makeTokenizer(tokenizer);
  const [first, last] = ["[CLS]", "[SEP]"].map((word) => tokenizer.model.vocab[word]);
  const prompts = [];
  let prompt = null;
  for (const name of names) {
    const tokens = tokenize(name);
    if (!prompt || prompt.ids.length + tokens.length + 1 > most) {
      const before = tokenize(config.prompt).map((token) => token.id);
      prompt = { text: config.prompt, ids: [first, ...before], spans: [], unknown: [] };
      prompts.push(prompt);
    }
    const span = tokens.map((_, k) => prompt.ids.length + k);
    if (!span.length) throw new Error(`The class “${name}” holds nothing the model can read.`);
    if (prompt.ids.length + tokens.length + 1 > most)
      throw new Error(`The class “${name.slice(0, 60)}” is too long for the model.`);
    if (tokens.some((token) => token.unknown)) prompt.unknown.push(name);
    prompt.text += ` ${name}`;
    prompt.ids.push(...tokens.map((token) => token.id));
    prompt.spans.push(span);
  }
  for (const each of prompts) each.ids.push(last);
  return prompts;
}
