// An editor without a window: the official TypeScript SDK of ACP as a client of the program in argv.
//
// Reads JSON lines from standard input, and prints what happens as JSON lines:
//   {id, method, params}   sends a request; prints {id, result} or {id, error: {code, message}}
//   {method, params}       sends a notification
//   {answer, result}       answers the request of the agent with this number
//   {fail}                 answers it with an error
//   {abort}                gives up our request with this id
//   {update}, {asks, method, params}, {withdrawn}, {closed}   are printed only
import { spawn } from "node:child_process";
import { createInterface } from "node:readline";
import { Readable, Writable } from "node:stream";
import { pathToFileURL } from "node:url";

const [, , sdk, command, ...args] = process.argv;
const acp = await import(pathToFileURL(sdk).href);

const print = (said) => process.stdout.write(JSON.stringify(said) + "\n");
const program = spawn(command, args, { stdio: ["pipe", "pipe", "inherit"] });
const stream = acp.ndJsonStream(Writable.toWeb(program.stdin), Readable.toWeb(program.stdout));

const waiting = new Map();
let asked = 0;
const ask = (method) => ({ params, signal }) =>
  new Promise((resolve, reject) => {
    const number = ++asked;
    waiting.set(number, { resolve, reject });
    signal?.addEventListener("abort", () => print({ withdrawn: number }));
    print({ asks: number, method, params });
  });

const { session, elicitation } = acp.methods.client;
const editor = acp
  .client({ name: "tests" })
  .onNotification(session.update, ({ params }) => print({ update: params.update, session: params.sessionId }))
  .onRequest(session.requestPermission, ask(session.requestPermission))
  .onRequest(elicitation.create, ask(elicitation.create));

program.on("exit", (code) => print({ closed: code }));
const controllers = new Map();
await editor.connectWith(stream, async (agent) => {
  print({ pid: program.pid });
  for await (const line of createInterface({ input: process.stdin })) {
    const { id, method, params, answer, result, fail, abort } = JSON.parse(line);
    if (answer !== undefined) waiting.get(answer).resolve(result);
    else if (fail !== undefined) waiting.get(fail).reject(new Error("no dialog"));
    else if (abort !== undefined) controllers.get(abort).abort();
    else if (id === undefined) await agent.notify(method, params);
    else {
      const controller = new AbortController();
      controllers.set(id, controller);
      agent.request(method, params, { cancellationSignal: controller.signal }).then(
        (done) => print({ id, result: done }),
        (error) => print({ id, error: { code: error.code, message: error.message } }),
      );
    }
  }
});
