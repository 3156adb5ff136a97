// Uses the gateway through OpenAI's SDK for JavaScript.
import OpenAI from "openai";

const client = new OpenAI({ baseURL: process.env.MOONGATE_URL + "/v1", apiKey: process.env.MOONGATE_TOKEN });
const said = (text) => [{ role: "user", content: text }];

const chat = await client.chat.completions.create({ model: "main", messages: said("Hello") });
console.log(chat.choices[0].message.content);

let text = "";
for await (const chunk of await client.chat.completions.create({ model: "main", messages: said("@@ words 5 0"), stream: true })) {
  text += chunk.choices[0]?.delta?.content ?? "";
}
console.log(text);

const response = await client.responses.create({ model: "main", input: "Hello", metadata: { session: "js" } });
const again = await client.responses.retrieve(response.id);
console.log(response.output_text, again.metadata.session);

let last;
for await (const event of await client.responses.retrieve(response.id, { stream: true })) last = event;
console.log(last.type, last.response.output[0].content[0].text);

const hello = "data:text/plain;base64,aGVsbG8=";
const picture = [{ type: "text", text: "@@ read" }, { type: "image_url", image_url: { url: hello } }];
const seen = await client.chat.completions.create({ model: "main", messages: said(picture) });
const file = [{ type: "input_text", text: "@@ read" }, { type: "input_file", file_data: hello, filename: "a.txt" }];
const read = await client.responses.create({ model: "main", input: said(file) });
console.log(seen.choices[0].message.content.trim(), read.output_text.trim());

const made = await client.responses.create({ model: "main", input: "@@ file b.gif GIF89a" });
console.log(made.output_text.split("(")[0], made.output.map((item) => item.type).join(" "), atob(made.output[1].result));

const hanging = await client.responses.create({ model: "main", input: "@@ hang", background: true });
console.log((await client.responses.cancel(hanging.id)).status);

try {
  await client.chat.completions.create({ model: "main", messages: said("@@ fail no luck") });
} catch (error) {
  console.log(error.status, error.message.includes("no luck"));
}
