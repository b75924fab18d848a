//! Publishes media files by WHIP with str0m: see tests/helpers/publisher_programs.py.

mod media;
mod whip;

use std::error::Error;
use std::io::{ErrorKind, stdin};
use std::net::{SocketAddr, UdpSocket};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use serde_json::{Value, json};
use str0m::change::SdpAnswer;
use str0m::media::{Direction, Frequency, MediaKind, MediaTime, Mid};
use str0m::net::{Protocol, Receive};
use str0m::{Candidate, Event, Input, Output, Rtc, RtcConfig};

use media::Loop;
use whip::Whip;

type Result<T> = std::result::Result<T, Box<dyn Error>>;

const AUDIO_INTERVAL: Duration = Duration::from_millis(20);
const AUDIO_TICKS: u64 = 960;
const VIDEO_RATE: u64 = 30;
const VIDEO_TICKS: u64 = 90_000 / VIDEO_RATE;
const PATIENCE: Duration = Duration::from_secs(20);
/// What str0m asks for is done at once; this only bounds how long a datagram is waited for.
const LONGEST_WAIT: Duration = Duration::from_millis(100);
const SHORTEST_WAIT: Duration = Duration::from_micros(100);

fn main() -> Result<()> {
    str0m::crypto::from_feature_flags().install_process_default();
    let order: Value = serde_json::from_reader(stdin())?;
    let mut publication = Publication::new(&order)?;
    publication.connect()?;
    let done = publication.send(order["seconds"].as_f64().ok_or("seconds?")?)?;
    println!("{done}");
    Ok(())
}

/// One order on its way.
struct Publication {
    rtc: Rtc,
    socket: UdpSocket,
    address: SocketAddr,
    whip: Whip,
    audio: (Mid, Loop),
    video: (Mid, Loop),
    keyframe_requests: u64,
}

impl Publication {
    /// Offers, and takes the answer in.
    fn new(order: &Value) -> Result<Self> {
        let text = |key: &str| order[key].as_str().ok_or_else(|| format!("{key}?"));
        let codec = text("codec")?;
        let socket = UdpSocket::bind((own_address()?, 0))?;
        let address = socket.local_addr()?;
        let mut rtc = RtcConfig::new()
            .clear_codecs()
            .enable_opus(true, false)
            .enable_vp8(codec == "VP8")
            .enable_h264(codec == "H264")
            .build(Instant::now());
        rtc.add_local_candidate(Candidate::host(address, "udp")?);
        let mut changes = rtc.sdp_api();
        let mut add = |kind| changes.add_media(kind, Direction::SendOnly, None, None, None);
        let (audio, video) = (add(MediaKind::Audio), add(MediaKind::Video));
        let (offer, pending) = changes.apply().ok_or("nothing is offered")?;
        let mut whip = Whip::new(text("url")?, text("bearer")?);
        let answer = whip.publish(&offer.to_sdp_string())?;
        rtc.sdp_api()
            .accept_answer(pending, SdpAnswer::from_sdp_string(&answer)?)?;
        Ok(Publication {
            rtc,
            socket,
            address,
            whip,
            audio: (audio, Loop::read(text("audio")?, "Opus")?),
            video: (video, Loop::read(text("video")?, codec)?),
            keyframe_requests: 0,
        })
    }

    fn connect(&mut self) -> Result<()> {
        let deadline = Instant::now() + PATIENCE;
        while !self.rtc.is_connected() {
            if Instant::now() > deadline {
                return Err(format!("not connected within {PATIENCE:?}").into());
            }
            self.wait_until(Instant::now() + LONGEST_WAIT)?;
        }
        Ok(())
    }

    /// Sends both files in a loop, in real time, and leaves.
    fn send(&mut self, seconds: f64) -> Result<Value> {
        let start = Instant::now();
        let (mut packets, mut frames) = (0, 0);
        loop {
            let audio_due = AUDIO_INTERVAL * packets;
            let video_due = Duration::from_secs(1) * frames / VIDEO_RATE as u32;
            let due = audio_due.min(video_due);
            if due.as_secs_f64() >= seconds {
                break;
            }
            self.wait_until(start + due)?;
            if audio_due <= video_due {
                let ticks =
                    MediaTime::new(u64::from(packets) * AUDIO_TICKS, Frequency::FORTY_EIGHT_KHZ);
                write(&mut self.rtc, &mut self.audio, ticks)?;
                packets += 1;
            } else {
                let ticks = MediaTime::new(u64::from(frames) * VIDEO_TICKS, Frequency::NINETY_KHZ);
                write(&mut self.rtc, &mut self.video, ticks)?;
                frames += 1;
            }
        }
        self.wait_until(Instant::now())?; // sends what was written last
        let stopped_ms = SystemTime::now().duration_since(UNIX_EPOCH)?.as_millis() as u64;
        Ok(json!({
            "audio_packets": packets,
            "video_frames": frames,
            "keyframe_requests": self.keyframe_requests,
            "stopped_ms": stopped_ms,
            "delete_status": self.whip.leave()?,
        }))
    }

    /// Sends and receives until `due`; at least once.
    fn wait_until(&mut self, due: Instant) -> Result<()> {
        loop {
            let timeout = self.poll()?;
            let now = Instant::now();
            if now >= due {
                return Ok(());
            }
            let wait = (timeout.min(due) - now).clamp(SHORTEST_WAIT, LONGEST_WAIT);
            self.receive(wait)?;
        }
    }

    /// Does what str0m wants to be done; until when it wants nothing more.
    fn poll(&mut self) -> Result<Instant> {
        loop {
            match self.rtc.poll_output()? {
                Output::Timeout(timeout) => return Ok(timeout),
                Output::Transmit(datagram) => {
                    self.socket
                        .send_to(&datagram.contents, datagram.destination)?;
                }
                Output::Event(Event::KeyframeRequest(_)) => {
                    self.keyframe_requests += 1;
                    self.video.1.go_to_key_frame();
                }
                Output::Event(_) => {}
            }
        }
    }

    fn receive(&mut self, wait: Duration) -> Result<()> {
        let mut buffer = [0; 2000];
        self.socket.set_read_timeout(Some(wait))?;
        let input = match self.socket.recv_from(&mut buffer) {
            Ok((size, source)) => Input::Receive(
                Instant::now(),
                Receive {
                    proto: Protocol::Udp,
                    source,
                    destination: self.address,
                    contents: buffer[..size].try_into()?,
                },
            ),
            Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => {
                Input::Timeout(Instant::now())
            }
            Err(error) => return Err(error.into()),
        };
        Ok(self.rtc.handle_input(input)?)
    }
}

fn write(rtc: &mut Rtc, (mid, frames): &mut (Mid, Loop), time: MediaTime) -> Result<()> {
    let writer = rtc.writer(*mid).ok_or("no writer")?;
    let payload_type = writer
        .payload_params()
        .next()
        .ok_or("nothing was agreed on")?
        .pt();
    writer.write(payload_type, Instant::now(), time, frames.next())?;
    rtc.handle_input(Input::Timeout(Instant::now()))?;
    Ok(())
}

/// The address by which this machine reaches others.
fn own_address() -> Result<std::net::IpAddr> {
    let probe = UdpSocket::bind("0.0.0.0:0")?;
    // Nothing is sent to it: it is one for documentation (RFC 5737).
    Ok(match probe.connect("203.0.113.1:9") {
        Ok(()) => probe.local_addr()?.ip(),
        Err(_) => std::net::Ipv4Addr::LOCALHOST.into(),
    })
}
