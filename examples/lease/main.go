// Command lease is a processor of one's own over HTTP. It needs the standard library alone and
// works beside every gateway, also one with the embedded store, whose process nobody else can
// share. It counts the words of texts, on a route that Hark knows nothing of, so the gateway is
// told of it:
//
//	gateway --routes default,words
//	HARK_URL=http://127.0.0.1:8080 go run ./examples/lease
//
//	curl http://127.0.0.1:8080/v1/requests -H 'Content-Type: application/json' \
//	     -d '{"route":"words","content":{"text":"to be or not to be"}}'
//
// HARK_KEY is the API key, if the gateway wants one: of the role processor.
package main

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log"
	"net/http"
	"net/url"
	"os"
	"os/signal"
	"strings"
	"sync"
	"syscall"
	"time"
)

// work is one attempt at one request.
type work struct {
	ID      string `json:"id"`
	Life    string `json:"life"`
	Attempt int    `json:"attempt"`
	// Read by itself, so that one that does not fit fails alone.
	Content json.RawMessage `json:"content"`
}

// failure is what a user reads who submitted something that cannot be worked on. What else goes
// wrong is tried again.
type failure struct{ code, message string }

func (f *failure) Error() string { return f.code + ": " + f.message }

// count is the work.
func count(content json.RawMessage) (map[string]int, error) {
	var in struct {
		Text string `json:"text"`
	}
	if json.Unmarshal(content, &in) != nil {
		return nil, &failure{"bad-content", "This route takes JSON with a text."}
	}
	words := strings.Fields(in.Text)
	if len(words) == 0 {
		return nil, &failure{"no-words", "There are no words in this text."}
	}
	return map[string]int{"words": len(words)}, nil
}

// gateway is called for work, and told what became of it.
type gateway struct{ base, key string }

// call makes a call and reads its answer into what answer points to, unless it is nil.
func (g gateway) call(ctx context.Context, method, path string, body, answer any) error {
	text, err := json.Marshal(body)
	if err != nil {
		return err
	}
	r, err := http.NewRequestWithContext(ctx, method, g.base+path, bytes.NewReader(text))
	if err != nil {
		return err
	}
	r.Header.Set("Content-Type", "application/json")
	if g.key != "" {
		r.Header.Set("Authorization", "Bearer "+g.key)
	}
	res, err := http.DefaultClient.Do(r)
	if err != nil {
		return err
	}
	defer func() { _ = res.Body.Close() }()
	text, err = io.ReadAll(res.Body)
	switch {
	case err != nil:
		return err
	case res.StatusCode != http.StatusOK:
		return fmt.Errorf("%s %s: %s %s", method, path, res.Status, text)
	case answer == nil:
		return nil
	}
	return json.Unmarshal(text, answer)
}

// do works on an attempt and reports how it ended. A report that is refused with 404 or 409 is of
// an attempt that does not count any more, so there is nothing else to be done about it.
func (g gateway) do(ctx context.Context, w work) error {
	path := "/v1/work/" + url.PathEscape(w.ID)
	fence := fmt.Sprintf("?attempt=%d&life=%s", w.Attempt, url.QueryEscape(w.Life))
	result, err := count(w.Content)
	if err == nil {
		return g.call(ctx, http.MethodPut, path+"/result"+fence, result, nil)
	}
	report := map[string]any{"message": "The words could not be counted.", "detail": err.Error(), "retryAfter": "5s"}
	if told, ok := errors.AsType[*failure](err); ok {
		report = map[string]any{"code": told.code, "message": told.message}
	}
	return g.call(ctx, http.MethodPut, path+"/error"+fence, report, nil)
}

// run works until ctx ends, and ends with what it has begun.
func (g gateway) run(ctx context.Context) {
	var running sync.WaitGroup
	defer running.Wait()
	for ctx.Err() == nil {
		var leased struct{ Work []work }
		err := g.call(ctx, http.MethodPost, "/v1/work/lease", map[string]any{"routes": []string{"words"}, "max": 8, "wait": "20s", "lease": "1m"}, &leased)
		if err != nil && ctx.Err() == nil {
			log.Print(err)
			select {
			case <-time.After(2 * time.Second): // the gateway is away, or its queue
			case <-ctx.Done():
			}
		}
		for _, w := range leased.Work {
			running.Go(func() {
				if err := g.do(context.WithoutCancel(ctx), w); err != nil {
					log.Print(err)
				}
			})
		}
		running.Wait()
	}
}

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	gateway{cmp.Or(os.Getenv("HARK_URL"), "http://127.0.0.1:8080"), os.Getenv("HARK_KEY")}.run(ctx)
}
