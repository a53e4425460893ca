// The least that a function with the DynamoDB client can be, for the benchmark of cold starts. The
// loop is in place of AWS's aws-lambda-ric, which has to be compiled with cmake when it is installed.
const http = require("node:http");
const { DynamoDBClient, GetItemCommand } = require("@aws-sdk/client-dynamodb");

const table = new DynamoDBClient({});
const runtime = `http://${process.env.AWS_LAMBDA_RUNTIME_API}/2018-06-01/runtime/invocation`;

const call = (method, url, body) =>
  new Promise((resolve, reject) => {
    const request = http.request(url, { method }, async (response) => {
      let text = "";
      for await (const chunk of response) text += chunk;
      resolve({ id: response.headers["lambda-runtime-aws-request-id"], text });
    });
    request.on("error", reject);
    request.end(body);
  });

const handler = async (event) => {
  const key = { pk: { S: event.key } };
  const found = await table.send(new GetItemCommand({ TableName: "hello", Key: key }));
  return { found: found.Item !== undefined };
};

(async () => {
  for (;;) {
    const next = await call("GET", `${runtime}/next`);
    const answer = await handler(JSON.parse(next.text));
    await call("POST", `${runtime}/${next.id}/response`, JSON.stringify(answer));
  }
})();
