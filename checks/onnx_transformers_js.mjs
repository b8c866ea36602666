// Open graphs with transformers.js; `checks.onnx_tools` copies this beside its packages and runs it.
//
// Run: node onnx_transformers_js.mjs ROOT NAME...; one line of JSON for each folder ROOT/NAME and graph.

import fs from 'node:fs';
import {
  AutoModelForCausalLM,
  AutoModelForImageClassification,
  AutoModelForSeq2SeqLM,
  AutoModelForSequenceClassification,
  Tensor,
  env,
  pipeline,
} from '@huggingface/transformers';

const [root, ...names] = process.argv.slice(2);
env.allowRemoteModels = false;
env.localModelPath = `${root}/`;

const CLASSES = {
  'causal-lm': AutoModelForCausalLM,
  seq2seq: AutoModelForSeq2SeqLM,
  classification: AutoModelForSequenceClassification,
  pictures: AutoModelForImageClassification,
};

function shape(rows) {
  return Array.isArray(rows) ? [rows.length, ...shape(rows[0])] : [];
}

function tensor(name, rows) {
  const numbers = rows.flat(Infinity);
  if (name === 'pixel_values') return new Tensor('float32', Float32Array.from(numbers), shape(rows));
  return new Tensor('int64', BigInt64Array.from(numbers.map(BigInt)), shape(rows));
}

async function answers(name, known, dtype) {
  if (known.task === 'embedding') {
    const embed = await pipeline('feature-extraction', name, { dtype });
    return (await embed(known.given.texts, { pooling: 'mean', normalize: true })).tolist();
  }
  const model = await CLASSES[known.task].from_pretrained(name, { dtype });
  const inputs = Object.fromEntries(Object.entries(known.given).map(([key, rows]) => [key, tensor(key, rows)]));
  if (!('input_ids' in inputs) || known.task === 'classification') return (await model(inputs)).logits.tolist();
  inputs.attention_mask = tensor('attention_mask', known.given.input_ids.map((row) => row.map(() => 1)));
  const written = await model.generate({ ...inputs, max_new_tokens: known.tokens, do_sample: false });
  return written.tolist().map((row) => row.map(Number));
}

for (const name of names) {
  const known = JSON.parse(fs.readFileSync(`${root}/${name}/expected.json`));
  for (const [dtype, int8] of [['fp32', false], ['q8', true]]) {
    const found = { folder: `${root}/${name}`, tool: 'transformers.js', int8 };
    try {
      found.answers = await answers(name, known, dtype);
    } catch (error) {
      found.error = String(error).slice(0, 300);
    }
    console.log(JSON.stringify(found));
  }
}
