package main

import (
	"bytes"
	"fmt"
	"io"
	"net/http"
	"time"
)

// newClient returns a client that keeps its connections.
func newClient() *http.Client {
	return &http.Client{Timeout: time.Minute, Transport: &http.Transport{MaxIdleConnsPerHost: 256}}
}

// post makes a call and reads the answer to its end.
func post(client *http.Client, url, contentType string, body []byte, headers ...string) error {
	_, err := call(client, url, contentType, body, headers...)
	return err
}

// call is post, for who wants the answer.
func call(client *http.Client, url, contentType string, body []byte, headers ...string) (answer []byte, err error) {
	r, err := http.NewRequest(http.MethodPost, url, bytes.NewReader(body))
	if err != nil {
		return nil, err
	}
	r.Header.Set("Content-Type", contentType)
	for i := 0; i+1 < len(headers); i += 2 {
		r.Header.Set(headers[i], headers[i+1])
	}
	res, err := client.Do(r)
	if err != nil {
		return nil, err
	}
	defer func() { _ = res.Body.Close() }()
	answer, err = io.ReadAll(res.Body)
	if err == nil && res.StatusCode >= 300 {
		err = fmt.Errorf("%s: %d %s", url, res.StatusCode, answer)
	}
	return answer, err
}
