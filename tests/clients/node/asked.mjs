// What the tests of test_node.py start these with, and what each client is asked.
import assert from "node:assert/strict";

export const gateway = process.env.THINKGATE_URL;
export const models = process.env.MODELS.split(",");
export const upstreams = process.env.UPSTREAMS.split(",");
export const { ANSWER, REASONING, AFTER_TOOL } = process.env;
export const question = "What is 6 times 7?";
export const messages = [{ role: "user", content: question }];
export const most = 2048;
export const result = "sunny, 21 degrees";
export const parameters = {
  type: "object",
  properties: { city: { type: "string" }, days: { type: "integer" } },
  required: ["city", "days"],
  additionalProperties: false,
};

export const effort = (thinking) => (thinking ? "high" : "none");

// The promise of the whole matrix.
export function check(model, content, reasoning, thinking) {
  assert.ok(content, "an answer");
  assert.ok(!/<\/?think>/.test(content), content);
  assert.equal(Boolean(reasoning), thinking, `thinking=${thinking}, but the reasoning is ${reasoning}`);
  if (!upstreams.includes(model)) return;
  assert.equal(content, ANSWER);
  assert.equal(reasoning ?? "", thinking ? REASONING : "");
}

export function checkArguments(args) {
  assert.deepEqual(Object.keys(args).sort(), ["city", "days"]);
  assert.equal(typeof args.city, "string");
  assert.ok(Number.isInteger(args.days));
}

// Each model, on and off, whole and streamed.
export function* cases(which) {
  for (const model of which)
    for (const thinking of [true, false])
      for (const stream of [false, true])
        yield { model, thinking, stream, name: `${model} ${thinking ? "on" : "off"} ${stream ? "stream" : "whole"}` };
}
