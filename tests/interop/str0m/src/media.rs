//! IVF files, sent in a loop.

use crate::Result;

pub struct Loop {
    frames: Vec<Vec<u8>>,
    key_frames: Vec<bool>,
    next: usize,
}

impl Loop {
    /// Reads an IVF file, whatever its codec is.
    pub fn read(path: &str, codec: &str) -> Result<Self> {
        let data = std::fs::read(path)?;
        let mut rest = &data[usize::from(u16::from_le_bytes(data[6..8].try_into()?))..];
        let mut frames = Vec::new();
        while !rest.is_empty() {
            let size = u32::from_le_bytes(rest[..4].try_into()?) as usize;
            frames.push(rest[12..12 + size].to_vec());
            rest = &rest[12 + size..];
        }
        let key_frames = frames
            .iter()
            .map(|frame| is_key_frame(codec, frame))
            .collect();
        Ok(Loop {
            frames,
            key_frames,
            next: 0,
        })
    }

    pub fn next(&mut self) -> Vec<u8> {
        let frame = self.frames[self.next].clone();
        self.next = (self.next + 1) % self.frames.len();
        frame
    }

    /// The next frame will be the next key frame of the file.
    pub fn go_to_key_frame(&mut self) {
        while !self.key_frames[self.next] {
            self.next = (self.next + 1) % self.frames.len();
        }
    }
}

fn is_key_frame(codec: &str, frame: &[u8]) -> bool {
    match codec {
        "VP8" => frame[0] & 1 == 0, // RFC 6386, 9.1
        "H264" => frame
            .windows(4)
            .any(|each| each[..3] == [0, 0, 1] && each[3] & 0x1f == 5),
        _ => true,
    }
}
