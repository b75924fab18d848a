// Calls the API by one of the official Node.js SDKs: of the Chinese site, or, with the argument
// `intl`, the international one.
//
// Each line of standard input is an order in JSON, each line of standard output its result: see
// tests/helpers/client_programs.py.

"use strict";

const readline = require("node:readline");

/** Parameters are plain objects, and a call returns a promise. */
function chineseSdk() {
    const root = "tencentcloud-sdk-nodejs/tencentcloud";
    const { Client } = require(`${root}/services/trtc`).trtc.v20190722;
    const { default: SdkError } = require(`${root}/common/exception/tencent_cloud_sdk_exception`);

    function call({ settings, action, parameters }) {
        const client = new Client({
            credential: {
                secretId: settings.secret_id,
                secretKey: settings.secret_key,
                token: settings.token,
            },
            region: settings.region,
            profile: {
                signMethod: settings.sign_method,
                language: settings.language,
                httpProfile: {
                    protocol: "http://",
                    endpoint: settings.endpoint,
                    reqMethod: settings.http_method,
                },
            },
        });
        return client[action](parameters);
    }

    return { call, SdkError };
}

/** Requests and responses are typed, and a call takes a callback. Its language is English. */
function internationalSdk() {
    const root = "tencentcloud-sdk-nodejs-intl-en/tencentcloud";
    const { Client, Models } = require(`${root}/trtc`).v20190722;
    const { ClientProfile, Credential, HttpProfile } = require(`${root}/common`);
    const SdkError = require(`${root}/common/exception/tencent_cloud_sdk_exception`);

    function call({ settings, action, parameters }) {
        const http = new HttpProfile("http://", settings.endpoint, settings.http_method);
        const client = new Client(
            new Credential(settings.secret_id, settings.secret_key, settings.token),
            settings.region,
            new ClientProfile(settings.sign_method, http),
        );
        const request = new Models[`${action}Request`]();
        request.deserialize(parameters);
        return new Promise((resolve, reject) => {
            client[action](request, (error, outputs) => (error ? reject(error) : resolve(outputs)));
        });
    }

    return { call, SdkError };
}

async function main() {
    const { call, SdkError } = process.argv[2] === "intl" ? internationalSdk() : chineseSdk();
    for await (const line of readline.createInterface({ input: process.stdin })) {
        let result;
        try {
            const outputs = await call(JSON.parse(line));
            result = { outputs, request_id: outputs.RequestId };
        } catch (error) {
            if (!(error instanceof SdkError)) throw error;
            result = { code: error.code, message: error.message, request_id: error.requestId };
        }
        console.log(JSON.stringify(result));
    }
}

main();
