package main

import (
	"bytes"
	"encoding/binary"
	"errors"
	"io"
	"os"
)

// Reads the frames of an IVF file, whatever their codec is.
func readIVF(path string) [][]byte {
	data, err := os.ReadFile(path)
	check(err)
	reader := bytes.NewReader(data[binary.LittleEndian.Uint16(data[6:]):])
	var frames [][]byte
	for {
		var header struct {
			Size uint32
			Pts  uint64
		}
		err := binary.Read(reader, binary.LittleEndian, &header)
		if errors.Is(err, io.EOF) {
			return frames
		}
		check(err)
		frame := make([]byte, header.Size)
		_, err = io.ReadFull(reader, frame)
		check(err)
		frames = append(frames, frame)
	}
}

// Tells whether a frame can be decoded without those before it.
func isKeyFrame(codec string, frame []byte) bool {
	if codec == "VP8" {
		return frame[0]&1 == 0 // RFC 6386, 9.1
	}
	for rest := frame; ; {
		at := bytes.Index(rest, []byte{0, 0, 1})
		if at < 0 || at+3 >= len(rest) {
			return false
		}
		rest = rest[at+3:]
		if rest[0]&0x1f == 5 { // an IDR slice
			return true
		}
	}
}
