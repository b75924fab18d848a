/**
 * Publishes a MediaStream by WHIP (RFC 9725): one HTTP request in, one out.
 *
 *   const publisher = new WhipPublisher({ url, token, onState: (state) => … });
 *   await publisher.start(await navigator.mediaDevices.getUserMedia({ audio: true, video: true }));
 *   …
 *   await publisher.stop();
 */
export class WhipPublisher {
  #url;
  #token;
  #codec;
  #onState;
  #peer = null;
  #stream = null;
  #session = null;

  /**
   * @param {object} options
   * @param {string} options.url the WHIP endpoint: …/whip/{SdkAppId}/{RoomIdType}/{RoomId}/{UserId}
   * @param {string} options.token the UserSig of that UserId
   * @param {string} [options.codec] "H264" or "VP8"; the browser chooses if it is empty
   * @param {(state: RTCPeerConnectionState) => void} [options.onState]
   */
  constructor({ url, token, codec = "", onState = () => {} }) {
    this.#url = url;
    this.#token = token;
    this.#codec = codec;
    this.#onState = onState;
  }

  /** The connection's state: "new" before `start`, "closed" after `stop`. */
  get state() {
    return this.#peer?.connectionState ?? "new";
  }

  /**
   * Offers the stream's tracks to the server; it takes ownership of them.
   *
   * Rejects with an Error that says what the server said.
   */
  async start(stream) {
    this.#stream = stream;
    this.#peer = new RTCPeerConnection({ bundlePolicy: "max-bundle" });
    this.#peer.addEventListener("connectionstatechange", () => this.#onState(this.state));
    for (const track of stream.getTracks()) {
      const transceiver = this.#peer.addTransceiver(track, {
        direction: "sendonly",
        streams: [stream],
      });
      if (track.kind === "video" && this.#codec) {
        transceiver.setCodecPreferences(findCodecs(this.#codec));
      }
    }
    try {
      await this.#negotiate();
    } catch (error) {
      await this.stop();
      throw error;
    }
  }

  /** Ends the session and frees the camera; harmless when it was called before. */
  async stop() {
    this.#stream?.getTracks().forEach((track) => track.stop());
    this.#peer?.close();
    const session = this.#session;
    this.#session = null;
    if (session) {
      const headers = { Authorization: `Bearer ${this.#token}` };
      // keepalive: the goodbye is sent even if it is said because the page is closed.
      await fetch(session, { method: "DELETE", headers, keepalive: true }).catch(() => {});
    }
  }

  /**
   * What is sent, one object for each track, and what the server says of it.
   *
   * @returns {Promise<object>} { audio: {…}, video: {…}, roundTripS } where a track has `codec`,
   *   `bytesSent`, `packetsSent`, `nackCount`, `fractionLost`, and video also `width`, `height`,
   *   `framesEncoded`, `keyFramesEncoded`, `pliCount`, `targetKbps`.
   */
  async stats() {
    const report = await this.#peer.getStats();
    const result = {};
    for (const item of report.values()) {
      if (item.type === "outbound-rtp") {
        const remote = report.get(item.remoteId);
        result[item.kind] = {
          codec: report.get(item.codecId)?.mimeType ?? null,
          bytesSent: item.bytesSent,
          packetsSent: item.packetsSent,
          nackCount: item.nackCount,
          fractionLost: remote?.fractionLost ?? null,
          width: item.frameWidth ?? null,
          height: item.frameHeight ?? null,
          framesEncoded: item.framesEncoded ?? null,
          keyFramesEncoded: item.keyFramesEncoded ?? null,
          pliCount: item.pliCount ?? null,
          targetKbps: item.targetBitrate === undefined ? null : item.targetBitrate / 1000,
        };
        result.roundTripS = remote?.roundTripTime ?? result.roundTripS ?? null;
      }
    }
    return result;
  }

  async #negotiate() {
    await this.#peer.setLocalDescription();
    // The server is ICE-lite: it needs none of our candidates, so there is no waiting for them.
    const response = await fetch(this.#url, {
      method: "POST",
      headers: { "Content-Type": "application/sdp", Authorization: `Bearer ${this.#token}` },
      body: this.#peer.localDescription.sdp,
    });
    const text = await response.text();
    if (response.status !== 201) {
      throw new Error(`HTTP ${response.status}: ${explain(text)}`);
    }
    this.#session = new URL(response.headers.get("Location"), response.url).href;
    await this.#peer.setRemoteDescription({ type: "answer", sdp: text });
  }
}

function findCodecs(name) {
  const { codecs } = RTCRtpSender.getCapabilities("video");
  const found = codecs.filter((codec) => codec.mimeType.toUpperCase() === `VIDEO/${name}`);
  if (found.length === 0) {
    throw new Error(`this browser cannot encode ${name}`);
  }
  return found;
}

function explain(text) {
  try {
    return JSON.parse(text).detail;
  } catch {
    return text;
  }
}
