// Calls the API by the official Go SDK: by its CommonClient, or, with the argument "typed", by
// typed requests.
//
// Each line of standard input is an order in JSON, each line of standard output its result: see
// tests/helpers/client_programs.py.
package main

import (
	"bufio"
	"encoding/json"
	"errors"
	"log"
	"os"
	"time"

	"github.com/tencentcloud/tencentcloud-sdk-go/tencentcloud/common"
	sdkerrors "github.com/tencentcloud/tencentcloud-sdk-go/tencentcloud/common/errors"
	tchttp "github.com/tencentcloud/tencentcloud-sdk-go/tencentcloud/common/http"
	"github.com/tencentcloud/tencentcloud-sdk-go/tencentcloud/common/profile"
)

const (
	version      = "2019-07-22"
	maxLineBytes = 1 << 20
	retryPause   = 300 * time.Millisecond
)

type settings struct {
	Endpoint         string `json:"endpoint"`
	SecretID         string `json:"secret_id"`
	SecretKey        string `json:"secret_key"`
	Token            string `json:"token"`
	Region           string `json:"region"`
	SignMethod       string `json:"sign_method"`
	HTTPMethod       string `json:"http_method"`
	Language         string `json:"language"`
	UnsignedPayload  bool   `json:"unsigned_payload"`
	RateLimitRetries int    `json:"rate_limit_retries"`
}

type order struct {
	Settings   settings        `json:"settings"`
	Action     string          `json:"action"`
	Parameters json.RawMessage `json:"parameters"`
}

type result struct {
	Outputs   map[string]interface{} `json:"outputs,omitempty"`
	Code      string                 `json:"code,omitempty"`
	Message   string                 `json:"message,omitempty"`
	RequestID string                 `json:"request_id"`
}

func newClient(s settings) *common.Client {
	p := profile.NewClientProfile()
	p.SignMethod = s.SignMethod
	p.Language = s.Language
	p.UnsignedPayload = s.UnsignedPayload
	p.RateLimitExceededMaxRetries = s.RateLimitRetries
	p.RateLimitExceededRetryDuration = profile.ConstantDurationFunc(retryPause)
	p.HttpProfile.Scheme = "HTTP"
	p.HttpProfile.Endpoint = s.Endpoint
	p.HttpProfile.ReqMethod = s.HTTPMethod
	return common.NewCommonClient(
		common.NewTokenCredential(s.SecretID, s.SecretKey, s.Token), s.Region, p)
}

func newRequest(o order, typed bool) (tchttp.Request, error) {
	if typed {
		request := newTypedRequest(o.Action)
		return request, json.Unmarshal(o.Parameters, request)
	}
	request := tchttp.NewCommonRequest("trtc", version, o.Action)
	return request, request.SetActionParameters([]byte(o.Parameters))
}

func obey(o order, typed bool) result {
	request, err := newRequest(o, typed)
	if err != nil {
		log.Fatal(err)
	}
	response := tchttp.NewCommonResponse()
	if err := newClient(o.Settings).Send(request, response); err != nil {
		var failure *sdkerrors.TencentCloudSDKError
		if !errors.As(err, &failure) {
			log.Fatal(err)
		}
		return result{Code: failure.Code, Message: failure.Message, RequestID: failure.RequestId}
	}
	var envelope struct{ Response map[string]interface{} }
	if err := json.Unmarshal(response.GetBody(), &envelope); err != nil {
		log.Fatal(err)
	}
	outputs := envelope.Response
	return result{Outputs: outputs, RequestID: outputs["RequestId"].(string)}
}

func main() {
	typed := len(os.Args) > 1 && os.Args[1] == "typed"
	orders := bufio.NewScanner(os.Stdin)
	orders.Buffer(make([]byte, 0, maxLineBytes), maxLineBytes)
	results := json.NewEncoder(os.Stdout)
	for orders.Scan() {
		var o order
		if err := json.Unmarshal(orders.Bytes(), &o); err != nil {
			log.Fatal(err)
		}
		if err := results.Encode(obey(o, typed)); err != nil {
			log.Fatal(err)
		}
	}
}
