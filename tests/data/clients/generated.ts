// Uses the types that openapi-typescript generates, through openapi-fetch: a task to its end, the list of tasks, and
// an answer to a permission.
import createClient from "openapi-fetch";
import type { components, paths } from "./schema";

declare const process: { env: Record<string, string> };

const client = createClient<paths>({
  baseUrl: process.env.MOONGATE_URL,
  headers: { Authorization: `Bearer ${process.env.MOONGATE_TOKEN}` },
});

const made = (await client.POST("/api/tasks", { body: { input: "Hello" } })).data!.task;
let task: components["schemas"]["TaskShown"] = made;
while (!["succeeded", "failed"].includes(task.status)) {
  task = (await client.GET("/api/tasks/{id}", { params: { path: { id: made.id } } })).data!.task;
}
const listed = (await client.GET("/api/tasks", { params: { query: { status: "succeeded" } } })).data!.tasks;
const refused = await client.POST("/api/tasks/{id}/permissions/{pid}", {
  params: { path: { id: "none", pid: "none" } },
  body: { answer: "deny" },
});
console.log(task.result, listed.length === 1 && listed[0].id === made.id, refused.response.status);
