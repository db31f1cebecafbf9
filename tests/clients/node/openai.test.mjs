// The official OpenAI client for Node: chat completions and responses, before models of every dialect.
import assert from "node:assert/strict";
import test from "node:test";
import OpenAI from "openai";
import { zodResponseFormat, zodTextFormat } from "openai/helpers/zod";
import { z } from "zod";
import { AFTER_TOOL, cases, check, checkArguments, effort, gateway, messages, models, most, parameters, question, result, upstreams } from "./asked.mjs";

const client = new OpenAI({ baseURL: `${gateway}/v1`, apiKey: "unused", maxRetries: 0 });
const chatTool = { type: "function", function: { name: "forecast", description: "The weather.", parameters } };
const responsesTool = { type: "function", name: "forecast", description: "The weather.", parameters, strict: false };
const Sum = z.object({ sum: z.number().int() });

const ask = async ({ model, thinking, stream }, fields = {}) => {
  const body = { model, messages, max_tokens: most, reasoning_effort: effort(thinking), ...fields };
  if (!stream) return client.chat.completions.create(body);
  // The accumulator keeps the last piece only of a field that it does not know.
  const pieces = [];
  const runner = client.chat.completions.stream(body).on("chunk", ({ choices }) => pieces.push(choices[0]?.delta.reasoning_content ?? ""));
  const whole = await runner.finalChatCompletion();
  if (pieces.join("")) whole.choices[0].message.reasoning_content = pieces.join("");
  return whole;
};

const respond = async ({ model, thinking, stream }, fields = {}) => {
  const reasoning = thinking ? { effort: "high", summary: "auto" } : { effort: "none" };
  const body = { model, input: question, max_output_tokens: most, reasoning, ...fields };
  return stream ? client.responses.stream(body).finalResponse() : client.responses.create(body);
};

for (const each of cases(models))
  test(`chat: ${each.name}`, async () => {
    const [choice] = (await ask(each)).choices;
    check(each.model, choice.message.content, choice.message.reasoning_content, each.thinking);
    assert.equal(choice.finish_reason, "stop");
  });

for (const each of cases(models))
  test(`responses: ${each.name}`, async () => {
    const response = await respond(each);
    const parts = response.output.filter((item) => item.type === "reasoning").flatMap((item) => [...item.summary, ...(item.content ?? [])]);
    check(each.model, response.output_text, parts.map((part) => part.text).join(""), each.thinking);
    assert.equal(response.status, "completed");
  });

for (const each of cases(upstreams))
  test(`chat, a tool loop: ${each.name}`, async () => {
    const tools = [chatTool];
    const { message } = (await ask(each, { tools })).choices[0];
    const [call] = message.tool_calls;
    checkArguments(JSON.parse(call.function.arguments));
    const history = [...messages, message, { role: "tool", tool_call_id: call.id, content: result }];
    const second = await ask(each, { tools, messages: history });
    assert.equal(second.choices[0].message.content, AFTER_TOOL + result);
  });

for (const each of cases(upstreams))
  test(`responses, a tool loop: ${each.name}`, async () => {
    const tools = [responsesTool];
    const first = await respond(each, { tools });
    const call = first.output.find((item) => item.type === "function_call");
    checkArguments(JSON.parse(call.arguments));
    const input = [...messages, ...first.output, { type: "function_call_output", call_id: call.call_id, output: result }];
    assert.equal((await respond(each, { tools, input })).output_text, AFTER_TOOL + result);
  });

for (const model of models)
  test(`parsed by its schema: ${model}`, async () => {
    const asked = [{ role: "user", content: "What is 6 + 7, as json?" }];
    const fields = { model, messages: asked, max_tokens: most, reasoning_effort: "none" };
    const chat = await client.chat.completions.parse({ ...fields, response_format: zodResponseFormat(Sum, "sum") });
    assert.ok(Number.isInteger(chat.choices[0].message.parsed.sum));
    const text = { format: zodTextFormat(Sum, "sum") };
    const response = await client.responses.parse({ model, input: asked, max_output_tokens: most, reasoning: { effort: "none" }, text });
    assert.ok(Number.isInteger(response.output_parsed.sum));
  });

test("an unknown model is not found", async () => {
  await assert.rejects(ask({ model: "gpt-9" }), OpenAI.NotFoundError);
  await assert.rejects(respond({ model: "gpt-9" }), OpenAI.NotFoundError);
});
