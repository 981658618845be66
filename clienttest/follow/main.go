// Command follow follows streams and WebSockets with clients that others have written, as their
// documentation shows. It is told what to do on its standard input and tells on its standard output
// what each client said, a JSON object a line:
//
//	{"id": "7", "client": "r3labs", "url": "http://…"}      begin, under an id that the caller chooses
//	{"id": "7"}                                             stop it
//
//	{"id": "7", "kind": "open"}
//	{"id": "7", "kind": "event", "name": "end", "data": "…", "cursor": "4"}
//	{"id": "7", "kind": "error", "error": "…"}              something failed, and the client goes on
//	{"id": "7", "kind": "over", "error": "…"}               the client has given up, or is done: without an error
//	{"id": "7", "kind": "close", "code": 1006, "error": "…"} a WebSocket is closed; code is -1 if the client tells none
//
// It ends with its standard input.
package main

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"os"
	"sync"
)

// command is a line of the standard input.
type command struct {
	ID     string `json:"id"`
	Client string `json:"client"` // "" stops the one with the id
	URL    string `json:"url"`
}

// report is a line of the standard output.
type report struct {
	ID     string `json:"id"`
	Kind   string `json:"kind"`
	Name   string `json:"name,omitempty"`
	Data   string `json:"data,omitempty"`
	Cursor string `json:"cursor,omitempty"`
	Code   int    `json:"code,omitempty"`
	Error  string `json:"error,omitempty"`
}

// follower is one client at work.
type follower struct {
	id, url string
	report  func(report)
}

func (f *follower) open() { f.report(report{ID: f.id, Kind: "open"}) }

func (f *follower) event(name, data, cursor string) {
	f.report(report{ID: f.id, Kind: "event", Name: name, Data: data, Cursor: cursor})
}

func (f *follower) failed(err error) {
	f.report(report{ID: f.id, Kind: "error", Error: fmt.Sprint(err)})
}

func (f *follower) over(err error) {
	r := report{ID: f.id, Kind: "over"}
	if err != nil {
		r.Error = err.Error()
	}
	f.report(r)
}

func (f *follower) closed(code int, err error) {
	f.report(report{ID: f.id, Kind: "close", Code: code, Error: fmt.Sprint(err)})
}

// clients run until ctx ends, or until they have nothing more to do.
var clients = map[string]func(ctx context.Context, f *follower){
	"r3labs":       r3labsClient,
	"launchdarkly": launchdarklyClient,
	"donovanhide":  donovanhideClient,
	"tmaxmax":      tmaxmaxClient,
	"tmaxmax-read": tmaxmaxRead,
	"coder":        coderSocket,
	"gorilla":      gorillaSocket,
	"gws":          gwsSocket,
	"gobwas":       gobwasSocket,
}

func main() {
	var writing sync.Mutex
	out := json.NewEncoder(os.Stdout)
	say := func(r report) {
		writing.Lock()
		defer writing.Unlock()
		_ = out.Encode(r) // nobody listens any more: so does nobody care
	}
	running := make(map[string]context.CancelFunc)
	lines := bufio.NewScanner(os.Stdin)
	for lines.Scan() {
		var c command
		if err := json.Unmarshal(lines.Bytes(), &c); err != nil {
			fmt.Fprintf(os.Stderr, "follow: %q is no command: %v\n", lines.Text(), err)
			os.Exit(2)
		}
		if c.Client == "" {
			if stop := running[c.ID]; stop != nil {
				stop()
				delete(running, c.ID)
			}
			continue
		}
		run := clients[c.Client]
		if run == nil {
			fmt.Fprintf(os.Stderr, "follow: there is no client %q\n", c.Client)
			os.Exit(2)
		}
		ctx, stop := context.WithCancel(context.Background())
		running[c.ID] = stop
		go run(ctx, &follower{id: c.ID, url: c.URL, report: func(r report) {
			if ctx.Err() == nil {
				say(r)
			}
		}})
	}
}
