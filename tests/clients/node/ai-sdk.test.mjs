// The Vercel AI SDK with its openai-compatible provider: text, streams, tools that it runs itself, objects.
import assert from "node:assert/strict";
import test from "node:test";
import { createOpenAICompatible } from "@ai-sdk/openai-compatible";
import { generateObject, generateText, jsonSchema, stepCountIs, streamText, tool } from "ai";
import { z } from "zod";
import { AFTER_TOOL, cases, check, checkArguments, effort, gateway, models, most, parameters, question, result, upstreams } from "./asked.mjs";

const provider = createOpenAICompatible({ name: "thinkgate", baseURL: `${gateway}/v1`, apiKey: "unused", includeUsage: true, supportsStructuredOutputs: true });
const common = ({ model, thinking }) => ({
  model: provider(model),
  maxRetries: 0,
  maxOutputTokens: most,
  providerOptions: { thinkgate: { reasoningEffort: effort(thinking) } },
});

async function ask(each, fields) {
  const body = { ...common(each), prompt: question, ...fields };
  if (!each.stream) return generateText(body);
  const failures = [];
  const stream = streamText({ ...body, onError: ({ error }) => failures.push(error) });
  await stream.consumeStream();
  assert.deepEqual(failures, []);
  return { text: await stream.text, reasoningText: await stream.reasoningText, finishReason: await stream.finishReason, usage: await stream.usage, steps: await stream.steps };
}

for (const each of cases(models))
  test(`text: ${each.name}`, async () => {
    const { text, reasoningText, finishReason, usage } = await ask(each);
    check(each.model, text, reasoningText, each.thinking);
    assert.equal(finishReason, "stop");
    assert.ok(usage.inputTokens > 0 && usage.outputTokens > 0);
  });

for (const each of cases(upstreams))
  test(`a tool that it runs: ${each.name}`, async () => {
    const seen = [];
    const forecast = tool({
      description: "The weather.",
      inputSchema: jsonSchema(parameters),
      execute: async (args) => (seen.push(args), result),
    });
    const { text, steps } = await ask(each, { tools: { forecast }, stopWhen: stepCountIs(3) });
    assert.equal(seen.length, 1);
    checkArguments(seen[0]);
    assert.equal(steps.length, 2);
    assert.equal(text, AFTER_TOOL + result);
  });

for (const model of models)
  test(`an object: ${model}`, async () => {
    const schema = z.object({ sum: z.number().int() });
    const { object } = await generateObject({ ...common({ model, thinking: false }), schema, prompt: "What is 6 + 7, as json?" });
    assert.ok(Number.isInteger(object.sum));
  });

test("an unknown model is an error of the API", async () => {
  await assert.rejects(ask({ model: "gpt-9", thinking: false }), { name: "AI_APICallError", statusCode: 404 });
});
