// Publishes media files by WHIP with Pion: see tests/helpers/publisher_programs.py.
package main

import (
	"encoding/json"
	"fmt"
	"io"
	"log"
	"net/http"
	"net/url"
	"os"
	"strings"
	"sync/atomic"
	"time"

	"github.com/pion/rtcp"
	"github.com/pion/webrtc/v4"
	"github.com/pion/webrtc/v4/pkg/media"
)

const (
	audioInterval = 20 * time.Millisecond
	videoInterval = time.Second / 30
)

type order struct {
	URL     string  `json:"url"`
	Bearer  string  `json:"bearer"`
	Codec   string  `json:"codec"`
	Audio   string  `json:"audio"`
	Video   string  `json:"video"`
	Seconds float64 `json:"seconds"`
}

type result struct {
	AudioPackets    int   `json:"audio_packets"`
	VideoFrames     int   `json:"video_frames"`
	KeyFrameRequest int64 `json:"keyframe_requests"`
	StoppedMs       int64 `json:"stopped_ms"`
	DeleteStatus    int   `json:"delete_status"`
}

// A publication of one order.
type publication struct {
	order          order
	connection     *webrtc.PeerConnection
	audio, video   *webrtc.TrackLocalStaticSample
	requests       atomic.Int64
	wantsKeyFrame  atomic.Bool
	connected      chan struct{}
	resource       string
	audioFrames    [][]byte
	videoFrames    [][]byte
	videoKeyFrames []bool
}

func main() {
	log.SetFlags(0)
	p := &publication{connected: make(chan struct{})}
	check(json.NewDecoder(os.Stdin).Decode(&p.order))
	p.audioFrames = readIVF(p.order.Audio)
	p.videoFrames = readIVF(p.order.Video)
	for _, frame := range p.videoFrames {
		p.videoKeyFrames = append(p.videoKeyFrames, isKeyFrame(p.order.Codec, frame))
	}
	p.connect()
	r := p.send()
	r.DeleteStatus, _, _ = p.request(http.MethodDelete, p.resource, "")
	check(p.connection.Close())
	check(json.NewEncoder(os.Stdout).Encode(r))
}

func (p *publication) connect() {
	var err error
	p.connection, err = webrtc.NewPeerConnection(webrtc.Configuration{})
	check(err)
	p.connection.OnConnectionStateChange(func(state webrtc.PeerConnectionState) {
		switch state {
		case webrtc.PeerConnectionStateConnected:
			close(p.connected)
		case webrtc.PeerConnectionStateFailed:
			log.Fatal("the connection has failed")
		}
	})
	p.audio = p.addTrack(webrtc.RTPCodecCapability{
		MimeType: webrtc.MimeTypeOpus, ClockRate: 48000, Channels: 2,
	})
	p.video = p.addTrack(webrtc.RTPCodecCapability{
		MimeType: "video/" + p.order.Codec, ClockRate: 90000,
	})
	offer, err := p.connection.CreateOffer(nil)
	check(err)
	gathered := webrtc.GatheringCompletePromise(p.connection)
	check(p.connection.SetLocalDescription(offer))
	<-gathered
	status, header, answer := p.request(
		http.MethodPost, p.order.URL, p.connection.LocalDescription().SDP)
	if status != http.StatusCreated {
		log.Fatalf("HTTP %d: %s", status, answer)
	}
	p.resource = resolve(p.order.URL, header.Get("Location"))
	check(p.connection.SetRemoteDescription(
		webrtc.SessionDescription{Type: webrtc.SDPTypeAnswer, SDP: answer}))
	select {
	case <-p.connected:
	case <-time.After(20 * time.Second):
		log.Fatal("not connected within 20 s")
	}
}

func (p *publication) addTrack(codec webrtc.RTPCodecCapability) *webrtc.TrackLocalStaticSample {
	track, err := webrtc.NewTrackLocalStaticSample(codec, codec.MimeType[:5], "pion")
	check(err)
	sender, err := p.connection.AddTrack(track)
	check(err)
	go p.readFeedback(sender)
	return track
}

func (p *publication) readFeedback(sender *webrtc.RTPSender) {
	for {
		packets, _, err := sender.ReadRTCP()
		if err != nil {
			return
		}
		for _, packet := range packets {
			switch packet.(type) {
			case *rtcp.PictureLossIndication, *rtcp.FullIntraRequest:
				p.requests.Add(1)
				p.wantsKeyFrame.Store(true)
			}
		}
	}
}

// Sends both files in a loop, in real time. Who asks for a key frame gets the next one of the file.
func (p *publication) send() result {
	var r result
	start := time.Now()
	end := time.Duration(p.order.Seconds * float64(time.Second))
	next := 0
	for {
		audioDue := time.Duration(r.AudioPackets) * audioInterval
		videoDue := time.Duration(r.VideoFrames) * videoInterval
		due := min(audioDue, videoDue)
		if due >= end {
			break
		}
		time.Sleep(due - time.Since(start))
		if audioDue <= videoDue {
			frame := p.audioFrames[r.AudioPackets%len(p.audioFrames)]
			check(p.audio.WriteSample(media.Sample{Data: frame, Duration: audioInterval}))
			r.AudioPackets++
			continue
		}
		if p.wantsKeyFrame.Swap(false) {
			for !p.videoKeyFrames[next] {
				next = (next + 1) % len(p.videoFrames)
			}
		}
		check(p.video.WriteSample(
			media.Sample{Data: p.videoFrames[next], Duration: videoInterval}))
		next = (next + 1) % len(p.videoFrames)
		r.VideoFrames++
	}
	r.StoppedMs = time.Now().UnixMilli()
	r.KeyFrameRequest = p.requests.Load()
	return r
}

func (p *publication) request(method, target, body string) (int, http.Header, string) {
	request, err := http.NewRequest(method, target, strings.NewReader(body))
	check(err)
	request.Header.Set("Authorization", "Bearer "+p.order.Bearer)
	if body != "" {
		request.Header.Set("Content-Type", "application/sdp")
	}
	response, err := http.DefaultClient.Do(request)
	check(err)
	defer response.Body.Close()
	text, err := io.ReadAll(response.Body)
	check(err)
	return response.StatusCode, response.Header, string(text)
}

func resolve(base, reference string) string {
	parsed, err := url.Parse(base)
	check(err)
	resolved, err := parsed.Parse(reference)
	check(err)
	return resolved.String()
}

func check(err error) {
	if err != nil {
		log.Fatal(fmt.Errorf("publisher: %w", err))
	}
}
