// Publishes media files by WHIP with libdatachannel: see tests/helpers/publisher_programs.py.

"use strict";

const { readFileSync } = require("node:fs");
const { performance } = require("node:perf_hooks");
const { setTimeout: sleep } = require("node:timers/promises");
const rtc = require("node-datachannel");

const AUDIO = { mid: "0", ssrc: 1001, payloadType: 111, clockRate: 48000, intervalMs: 20 };
const VIDEO = { mid: "1", ssrc: 2002, payloadType: 96, clockRate: 90000, intervalMs: 1000 / 30 };
const MAX_PAYLOAD = 1180;
const CONNECT_MS = 20_000;

/** The frames of an IVF file, whatever their codec is. */
function readIvf(path) {
    const data = readFileSync(path);
    const frames = [];
    let at = data.readUInt16LE(6);
    while (at < data.length) {
        const size = data.readUInt32LE(at);
        frames.push(data.subarray(at + 12, at + 12 + size));
        at += 12 + size;
    }
    return frames;
}

function isKeyFrame(codec, frame) {
    if (codec === "VP8") {
        return (frame[0] & 1) === 0; // RFC 6386, 9.1
    }
    for (let at = frame.indexOf("\0\0\x01"); at >= 0; at = frame.indexOf("\0\0\x01", at + 3)) {
        if ((frame[at + 3] & 0x1f) === 5) { // an IDR slice
            return true;
        }
    }
    return false;
}

/** A stream whose packets libdatachannel makes: of H.264 and Opus. */
class Packetized {
    #track;
    #config;

    constructor(track, stream, Packetizer, ...options) {
        this.#track = track;
        this.#config = rtpConfig(stream);
        const packetizer = new Packetizer(...options, this.#config);
        packetizer.addToChain(new rtc.RtcpSrReporter(this.#config));
        packetizer.addToChain(new rtc.RtcpNackResponder());
        track.setMediaHandler(packetizer);
    }

    send(frame, ticks) {
        this.#config.timestamp = ticks;
        this.#track.sendMessageBinary(frame);
    }
}

/** A stream of VP8, for which libdatachannel has no packetizer; payloads as in RFC 7741, 4.2. */
class Vp8 {
    #track;
    #config = rtpConfig(VIDEO);
    #sequence = 65_530; // so that it wraps soon

    constructor(track) {
        this.#track = track;
        const reporter = new rtc.RtcpSrReporter(this.#config);
        reporter.addToChain(new rtc.RtcpNackResponder());
        track.setMediaHandler(reporter);
    }

    send(frame, ticks) {
        this.#config.timestamp = ticks;
        for (let at = 0; at < frame.length; at += MAX_PAYLOAD) {
            const rest = frame.subarray(at);
            const descriptor = Buffer.from([at === 0 ? 0x10 : 0x00]);
            const payload = Buffer.concat([descriptor, rest.subarray(0, MAX_PAYLOAD)]);
            this.#sendPacket(payload, ticks, rest.length <= MAX_PAYLOAD);
        }
    }

    #sendPacket(payload, ticks, marker) {
        const header = Buffer.alloc(12);
        header[0] = 0x80;
        header[1] = (marker ? 0x80 : 0) | VIDEO.payloadType;
        header.writeUInt16BE(this.#sequence, 2);
        header.writeUInt32BE(ticks, 4);
        header.writeUInt32BE(VIDEO.ssrc, 8);
        this.#sequence = (this.#sequence + 1) % 65_536;
        this.#track.sendMessageBinary(Buffer.concat([header, payload]));
    }
}

/** Whether a compound RTCP packet has a PLI in it (RFC 3550, 6.1; RFC 4585, 6.3.1). */
function hasPli(packet) {
    for (let at = 0; at + 4 <= packet.length; at += 4 * (packet.readUInt16BE(at + 2) + 1)) {
        if (packet[at] === 0x81 && packet[at + 1] === 206) {
            return true;
        }
    }
    return false;
}

function rtpConfig({ ssrc, payloadType, clockRate }) {
    return new rtc.RtpPacketizationConfig(ssrc, "cname", payloadType, clockRate);
}

class Publication {
    #order;
    #connection = new rtc.PeerConnection("publisher", { iceServers: [] });
    #audio;
    #video;
    #resource;
    #requests = 0;
    #wantsKeyFrame = false;
    #opened = [];

    constructor(order) {
        this.#order = order;
        const sound = new rtc.Audio("0", "SendOnly");
        sound.addOpusCodec(AUDIO.payloadType);
        this.#audio = new Packetized(this.#addTrack(sound, AUDIO), AUDIO, rtc.RtpPacketizer);
        const pictures = new rtc.Video("1", "SendOnly");
        if (order.codec === "VP8") {
            pictures.addVP8Codec(VIDEO.payloadType);
            this.#video = new Vp8(this.#addTrack(pictures, VIDEO));
        } else {
            pictures.addH264Codec(VIDEO.payloadType);
            const track = this.#addTrack(pictures, VIDEO);
            this.#video = new Packetized(track, VIDEO, rtc.H264RtpPacketizer, "StartSequence");
        }
    }

    async connect() {
        const { url } = this.#order;
        const response = await this.#request(url, {
            method: "POST",
            headers: { "Content-Type": "application/sdp" },
            body: await this.#offer(),
        });
        const answer = await response.text();
        if (response.status !== 201) {
            throw new Error(`HTTP ${response.status}: ${answer}`);
        }
        this.#resource = new URL(response.headers.get("Location"), url).href;
        const connected = this.#until("onStateChange", "connected");
        this.#connection.setRemoteDescription(answer, "answer");
        await connected;
        await Promise.all(this.#opened); // which comes after it
    }

    /** Sends both files in a loop. Who asks for a key frame gets the next one of the file. */
    async send() {
        const { codec, seconds } = this.#order;
        const sound = readIvf(this.#order.audio);
        const pictures = readIvf(this.#order.video);
        const start = performance.now();
        let packets = 0;
        let frames = 0;
        let next = 0;
        for (;;) {
            const audioDue = packets * AUDIO.intervalMs;
            const videoDue = frames * VIDEO.intervalMs;
            const due = Math.min(audioDue, videoDue);
            if (due >= seconds * 1000) {
                break;
            }
            const wait = start + due - performance.now();
            if (wait > 0) {
                await sleep(wait);
            }
            if (audioDue <= videoDue) {
                this.#audio.send(sound[packets % sound.length], packets * 960);
                packets += 1;
                continue;
            }
            if (this.#wantsKeyFrame) {
                this.#wantsKeyFrame = false;
                while (!isKeyFrame(codec, pictures[next])) {
                    next = (next + 1) % pictures.length;
                }
            }
            this.#video.send(pictures[next], frames * 3000);
            next = (next + 1) % pictures.length;
            frames += 1;
        }
        return {
            audio_packets: packets,
            video_frames: frames,
            keyframe_requests: this.#requests,
            stopped_ms: Date.now(),
        };
    }

    async leave() {
        const response = await this.#request(this.#resource, { method: "DELETE" });
        this.#connection.close();
        return response.status;
    }

    #addTrack(media, { ssrc }) {
        media.addSSRC(ssrc, "cname", "stream", media.mid());
        const track = this.#connection.addTrack(media);
        this.#opened.push(new Promise((resolve) => track.onOpen(resolve)));
        track.onMessage((packet) => {
            if (hasPli(packet)) {
                this.#requests += 1;
                this.#wantsKeyFrame = true;
            }
        });
        return track;
    }

    async #offer() {
        const gathered = this.#until("onGatheringStateChange", "complete");
        this.#connection.setLocalDescription("offer");
        await gathered;
        return this.#connection.localDescription().sdp;
    }

    #until(event, state) {
        const { promise, resolve, reject } = withResolvers();
        const tooLate = () => reject(new Error(`not ${state} within ${CONNECT_MS} ms`));
        const timer = setTimeout(tooLate, CONNECT_MS);
        this.#connection[event]((reached) => {
            if (reached === state) {
                clearTimeout(timer);
                resolve();
            }
        });
        return promise;
    }

    #request(url, { method, headers = {}, body }) {
        const authorization = { Authorization: `Bearer ${this.#order.bearer}` };
        return fetch(url, { method, headers: { ...headers, ...authorization }, body });
    }
}

/** Promise.withResolvers, which Node.js has from 22 on. */
function withResolvers() {
    const result = {};
    result.promise = new Promise((resolve, reject) => Object.assign(result, { resolve, reject }));
    return result;
}

async function main() {
    const publication = new Publication(JSON.parse(readFileSync(0, "utf8")));
    await publication.connect();
    const done = await publication.send();
    done.delete_status = await publication.leave();
    rtc.cleanup();
    console.log(JSON.stringify(done));
}

main().catch((error) => {
    console.error(error);
    process.exit(1);
});
