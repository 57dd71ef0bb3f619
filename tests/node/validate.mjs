// node validate.mjs FILE...: prints the Khronos validator's issues of each file, as JSON.
import { readFile } from "node:fs/promises";
import validator from "gltf-validator";

const reports = {};
for (const file of process.argv.slice(2)) {
  const report = await validator.validateBytes(new Uint8Array(await readFile(file)), {
    uri: file,
    maxIssues: 100,
  });
  reports[file] = report.issues;
}
console.log(JSON.stringify(reports));
