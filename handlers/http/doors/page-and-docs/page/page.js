/** The page: asks the models of this service about a picture, through the same routes as everyone. */

const element = (id) => document.getElementById(id);
const [form, drop, preview, file, url, model, text, textLabel, hint, access, token, ask, result, curl, copy] = [
  'form',
  'drop',
  'preview',
  'file',
  'url',
  'model',
  'text',
  'text-label',
  'hint',
  'access',
  'token',
  'ask',
  'result',
  'curl',
  'copy',
].map(element);

/** A prompt and the text that continues it. */
const caption = {
  input: 'text',
  outputs: ['generated_output', 'mean_token_logprob'],
  show: ([captions, logprobs]) => showText(captions.data[0], Math.exp(logprobs.data[0])),
};

const answer = {
  input: 'question',
  outputs: ['answer', 'sequence_logprob'],
  show: ([answers, logprobs]) => showText(answers.data[0], Math.exp(logprobs.data[0])),
};

/** By the outputs that a task has: what is asked, and which outputs show the answer. The first that fits holds. */
const tasks = {
  'answer generated_output': {
    ...answer,
    label: 'Question',
    hint: 'Say “how many cats are there?”. An empty one asks for a caption.',
    whenEmpty: caption,
  },
  generated_output: {
    ...caption,
    label: 'Prompt',
    hint: 'May be empty. The caption continues it, say “a picture of”.',
  },
  answer: {
    ...answer,
    label: 'Question',
    hint: 'Say “how many cats are there?”',
  },
  match_probability: {
    label: 'Texts',
    hint: 'One on each line. Each is held against the picture by itself.',
    input: 'text',
    lines: true,
    outputs: ['match_probability', 'cosine_similarity'],
    show: (tensors, texts) => showTable(texts, ['match', 'cosine'], tensors),
  },
  probability: {
    label: 'Texts',
    hint: 'One on each line. Which of them describes the picture?',
    input: 'text',
    lines: true,
    outputs: ['probability', 'cosine_similarity'],
    show: (tensors, texts) => showTable(texts, ['probability', 'cosine'], tensors),
  },
};

/** What the page knows: the task of each model, and the picture, as base64 with its name or as a URL. */
const taskOf = new Map();
let picture;

const currentTask = () => taskOf.get(model.value);
/** What a task is asked for: BLIP-2 captions where there is no question. */
const formOf = (task, asked) => (asked.length === 0 && task.whenEmpty) || task;
const texts = () => {
  const lines = currentTask()?.lines ? text.value.split('\n').map((line) => line.trim()) : [text.value.trim()];
  return lines.filter((line) => line !== '');
};

/** Says whether there are models, and all of them can be asked. */
async function findModels() {
  const { models } = await (await fetch('/v2/models')).json();
  for (const name of models.filter((each) => !taskOf.has(each))) {
    const { outputs } = await (await fetch(`/v2/models/${encodeURIComponent(name)}`)).json();
    const has = (output) => outputs?.some((each) => each.name === output);
    const task = Object.entries(tasks).find(([names]) => names.split(' ').every(has));
    if (task === undefined) continue;
    taskOf.set(name, task[1]);
    model.add(new Option(name));
    if (taskOf.size === 1) changeTask();
  }
  return models.length > 0 && taskOf.size === models.length;
}

/** A service may still load some of its models when the page is opened. */
async function findModelsSoon() {
  const found = await findModels().catch(() => false);
  const ready = `${taskOf.size} ${taskOf.size === 1 ? 'model' : 'models'} ready`;
  const loading = taskOf.size === 0 ? 'The models are loading …' : `${ready}, others are loading …`;
  element('server').textContent = found ? ready : loading;
  if (!found) setTimeout(findModelsSoon, 1000);
}

function changeTask() {
  const task = currentTask();
  textLabel.textContent = task.label;
  hint.textContent = task.hint;
  showCurl();
}

function takeFile(given) {
  if (given === undefined) return;
  const reader = new FileReader();
  reader.addEventListener('load', () => {
    picture = { source: reader.result, fileName: given.name || 'picture.png' };
    url.value = '';
    showPicture(reader.result);
  });
  reader.readAsDataURL(given);
}

function takeUrl() {
  picture = url.value.trim() === '' ? undefined : { source: url.value.trim() };
  showPicture(picture?.source);
}

function showPicture(source) {
  preview.hidden = source === undefined;
  if (source === undefined) preview.removeAttribute('src');
  else preview.src = source;
  showCurl();
}

function requestBody(source) {
  const asked = texts();
  const { input, outputs } = formOf(currentTask(), asked);
  const tensor = (name, data) => ({ name, shape: [data.length], datatype: 'BYTES', data });
  return {
    inputs: [tensor('img_url', [source]), ...(asked.length === 0 ? [] : [tensor(input, asked)])],
    outputs: outputs.map((name) => ({ name })),
  };
}

const path = () => `/v2/models/${encodeURIComponent(model.value)}/infer`;

async function submit(event) {
  event.preventDefault();
  if (picture === undefined) return showError('Choose a picture first.');
  ask.disabled = true;
  const [task, asked] = [currentTask(), texts()]; // They may be others by the time of the answer.
  const startMs = performance.now();
  try {
    const response = await fetch(path(), {
      method: 'POST',
      headers: {
        'content-type': 'application/json',
        ...(token.value === '' ? {} : { authorization: `Bearer ${token.value}` }),
      },
      body: JSON.stringify(requestBody(picture.source)),
    });
    const body = await response.json();
    if (response.status === 401) access.open = true;
    if (!response.ok) return showError(body.error);
    formOf(task, asked).show(body.outputs, asked);
    addNote(`${Math.round(performance.now() - startMs)} ms`);
  } catch {
    showError('The service does not answer.');
  } finally {
    ask.disabled = false;
  }
}

function create(tag, content, className = '') {
  const made = document.createElement(tag);
  made.textContent = content;
  made.className = className;
  return made;
}

function showError(message) {
  result.replaceChildren(create('p', message, 'error'));
}

function showText(answer, confidence) {
  result.replaceChildren(create('p', answer, 'answer'));
  addNote(`confidence ${percent(confidence)}`);
}

function showTable(rows, columns, tensors) {
  const table = document.createElement('table');
  const head = table.createTHead().insertRow();
  for (const column of ['text', ...columns]) head.append(create('th', column));
  const body = table.createTBody();
  const order = rows.map((_, row) => row).sort((one, other) => tensors[0].data[other] - tensors[0].data[one]);
  for (const row of order) {
    const line = body.insertRow();
    line.append(
      create('td', rows[row]),
      create('td', percent(tensors[0].data[row])),
      create('td', tensors[1].data[row].toFixed(3)),
    );
  }
  result.replaceChildren(table);
}

function addNote(note) {
  const hintLine = result.querySelector('.hint');
  if (hintLine === null) result.append(create('p', note, 'hint'));
  else hintLine.textContent += ` · ${note}`;
}

const percent = (value) => `${(100 * value).toFixed(1)} %`;

/** Puts a text into the clipboard; says whether that went well. There is none over plain http, but on this machine. */
async function copied(content) {
  try {
    await navigator.clipboard.writeText(content);
    return true;
  } catch {
    getSelection().selectAllChildren(curl);
    return false;
  }
}

/** For a shell: in single quotes, nothing but the quote itself means anything. */
const quoted = (value) => `'${value.replaceAll("'", "'\\''")}'`;

function showCurl() {
  if (currentTask() === undefined) return;
  const authorization = token.value === '' ? '' : ` \\\n  -H "Authorization: Bearer $TOKEN"`;
  const command = `curl -s ${quoted(location.origin + path())} \\\n  -H 'Content-Type: application/json'${authorization} \\\n  -d `;
  if (picture?.fileName === undefined) {
    curl.textContent = command + quoted(JSON.stringify(requestBody(picture?.source ?? 'https://…')));
    return;
  }
  const body = JSON.stringify(requestBody('PICTURE'));
  const place = body.indexOf('PICTURE'); // The picture comes before the text, which may have the word too.
  const [before, after] = [body.slice(0, place), body.slice(place + 'PICTURE'.length)].map(quoted);
  curl.textContent = `printf %s ${before}"$(base64 < ${quoted(picture.fileName)} | tr -d '\\n')"${after} | ${command}@-`;
}

form.addEventListener('submit', submit);
form.addEventListener('input', showCurl);
model.addEventListener('change', changeTask);
url.addEventListener('change', takeUrl);
file.addEventListener('change', () => takeFile(file.files[0]));
text.addEventListener('keydown', (event) => {
  if (event.key === 'Enter' && (event.ctrlKey || event.metaKey || !currentTask()?.lines) && !event.shiftKey) {
    event.preventDefault();
    form.requestSubmit();
  }
});
for (const name of ['dragenter', 'dragover']) {
  drop.addEventListener(name, (event) => {
    event.preventDefault();
    drop.classList.add('over');
  });
}
for (const name of ['dragleave', 'drop']) drop.addEventListener(name, () => drop.classList.remove('over'));
drop.addEventListener('drop', (event) => {
  event.preventDefault();
  takeFile(event.dataTransfer.files[0]);
});
document.addEventListener('paste', (event) => takeFile(event.clipboardData.files[0]));
copy.addEventListener('click', async () => {
  copy.textContent = (await copied(curl.textContent)) ? 'Copied' : 'Select it by hand';
  setTimeout(() => {
    copy.textContent = 'Copy';
  }, 1500);
});
await findModelsSoon();
