// Command go is what the tests of clienttest/receivers need in Go: receivers of webhooks, and a
// poller.
//
//	go serve        serves every receiver on a port of its own, and prints a JSON object with the URL of each; ends with its standard input
//	go poll URL     polls what was submitted, see poll.go
//
// HARK_SECRET is the secret of the endpoints. Whatever a receiver is handed is a line of the file
// with its name in the folder HARK_SEEN before it answers.
package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"time"

	"github.com/hark-push/hark/webhook"
)

// errTest is what receivers fail with at an event of type webhook.test, to see that it comes again.
var errTest = errors.New("tests are not taken")

// events is where one receiver notes down what it was given.
type events struct{ path string }

// seen is a line of the file.
type seen struct {
	Verified bool            `json:"verified"`
	Event    json.RawMessage `json:"event"`
	Origin   string          `json:"origin,omitempty"` // the header WebHook-Request-Origin
}

func (e events) note(s seen) error {
	var head struct {
		Type string `json:"type"`
	}
	if err := json.Unmarshal(s.Event, &head); err != nil {
		return err
	}
	if head.Type == "webhook.test" {
		return errTest
	}
	line, err := json.Marshal(s)
	if err != nil {
		return err
	}
	f, err := os.OpenFile(e.path, os.O_APPEND|os.O_CREATE|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	if _, err := f.Write(append(line, '\n')); err != nil {
		return errors.Join(err, f.Close())
	}
	return f.Close()
}

// verified notes down the body of a delivery whose signature was verified.
func (e events) verified(body []byte) error { return e.note(seen{Verified: true, Event: body}) }

// read notes down an event that nobody verified.
func (e events) read(event any) error {
	text, err := json.Marshal(event)
	if err != nil {
		return err
	}
	return e.note(seen{Event: text})
}

func serve() error {
	secret := os.Getenv("HARK_SECRET")
	key, err := webhook.ParseKey(secret)
	if err != nil {
		return fmt.Errorf("HARK_SECRET: %w", err)
	}
	note := func(name string) events { return events{filepath.Join(os.Getenv("HARK_SEEN"), name)} }
	urls := make(map[string]string)
	for name, handler := range receivers(secret, key, note) {
		listener, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			return err
		}
		urls[name] = "http://" + listener.Addr().String() + "/hooks"
		server := &http.Server{Handler: handler, ReadHeaderTimeout: time.Minute}
		go func() { _ = server.Serve(listener) }()
	}
	for name, start := range map[string]func(net.Listener) error{
		"cloudevents": func(l net.Listener) error { return startReceiver(l, note("cloudevents")) },
		"sdk-go":      func(l net.Listener) error { return cloudEventsRecipe(l, key, note("sdk-go")) },
	} {
		listener, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			return err
		}
		urls[name] = "http://" + listener.Addr().String()
		go func() {
			fmt.Fprintln(os.Stderr, name, start(listener))
			os.Exit(1)
		}()
	}
	if err := json.NewEncoder(os.Stdout).Encode(urls); err != nil {
		return err
	}
	_, err = io.Copy(io.Discard, os.Stdin)
	return err
}

func main() {
	var err error
	switch {
	case len(os.Args) == 2 && os.Args[1] == "serve":
		err = serve()
	case len(os.Args) == 3 && os.Args[1] == "poll":
		err = poll(os.Args[2])
	default:
		err = errors.New("usage: serve | poll URL")
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}
