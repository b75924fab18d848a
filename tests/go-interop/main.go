// Negotiates by Pion, for the tests: reads commands from standard input, one a line, in JSON, and
// answers each with a line: the SDP that it led to, if any, or what went wrong.
package main

import (
	"bufio"
	"encoding/json"
	"os"

	"github.com/pion/sdp/v3"
	"github.com/pion/webrtc/v4"
)

type command struct {
	// "new", "add" (Kind), "offer", "apply" (SDP: an answer), "answer" (SDP: an offer),
	// "parse" (SDP)
	Do   string
	Kind string
	SDP  string
}

type result struct {
	SDP   string `json:"sdp"`
	Error string `json:"error"`
}

var connection *webrtc.PeerConnection

func main() {
	lines := bufio.NewScanner(os.Stdin)
	lines.Buffer(nil, 1<<20)
	answers := json.NewEncoder(os.Stdout)
	for lines.Scan() {
		var next command
		if err := json.Unmarshal(lines.Bytes(), &next); err != nil {
			panic(err)
		}
		text, err := obey(next)
		answer := result{SDP: text}
		if err != nil {
			answer.Error = err.Error()
		}
		if err := answers.Encode(answer); err != nil {
			panic(err)
		}
	}
}

func obey(next command) (string, error) {
	switch next.Do {
	case "new":
		return "", renew()
	case "add":
		direction := webrtc.RTPTransceiverInit{Direction: webrtc.RTPTransceiverDirectionSendonly}
		_, err := connection.AddTransceiverFromKind(webrtc.NewRTPCodecType(next.Kind), direction)
		return "", err
	case "offer":
		offer, err := connection.CreateOffer(nil)
		if err != nil {
			return "", err
		}
		return offer.SDP, connection.SetLocalDescription(offer)
	case "apply":
		return "", connection.SetRemoteDescription(description(webrtc.SDPTypeAnswer, next.SDP))
	case "answer":
		err := connection.SetRemoteDescription(description(webrtc.SDPTypeOffer, next.SDP))
		if err != nil {
			return "", err
		}
		answer, err := connection.CreateAnswer(nil)
		if err != nil {
			return "", err
		}
		return answer.SDP, connection.SetLocalDescription(answer)
	case "parse":
		return "", new(sdp.SessionDescription).UnmarshalString(next.SDP)
	}
	panic("unknown command " + next.Do)
}

func renew() error {
	if connection != nil {
		if err := connection.Close(); err != nil {
			return err
		}
	}
	var err error
	connection, err = webrtc.NewPeerConnection(webrtc.Configuration{})
	return err
}

func description(kind webrtc.SDPType, text string) webrtc.SessionDescription {
	return webrtc.SessionDescription{Type: kind, SDP: text}
}
