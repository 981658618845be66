package cli

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"mime"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/hark-push/hark/backoff"
	"github.com/hark-push/hark/settings"
)

type followVerb struct {
	Remote `embed:""`
	Output `embed:""`

	ID    string `arg:"" optional:"" help:"Id of a request. Without it: all requests of yours, or those that a flag names."`
	Topic string `xor:"what" help:"All requests with this topic."`
	Owner string `xor:"what" help:"All requests of this caller, * for everybody's. For the role admin."`
	After string `placeholder:"CURSOR" help:"Begin behind this event: its number, or the cursor that --json prints with each. 0: from the first one that is kept. Default: a request from its first, others from now on."`
}

// event is what is read of an event.
type event struct {
	ID   string `json:"id"`
	Type string `json:"type"`
	Time string `json:"time"`

	Data json.RawMessage `json:"data"`
}

func (v *followVerb) run(ctx context.Context, s *Streams) error {
	c, err := v.Client()
	if err != nil {
		return err
	}
	if v.ID != "" && v.Topic+v.Owner != "" {
		return settings.NotAllowed("topic", v.Topic+v.Owner, "either the id of a request, or --topic, or --owner")
	}
	return v.follow(ctx, s, c)
}

func (v *followVerb) follow(ctx context.Context, s *Streams, c *Client) error {
	progress := bar{s: s}
	to := stream{client: c, after: v.After, say: progress.aside}
	switch {
	case v.ID != "":
		to.path = "/v1/requests/" + escaped(v.ID) + "/events"
	case v.Topic != "":
		to.path = "/v1/topics/" + escaped(v.Topic) + "/events"
	default:
		to.path = "/v1/events"
		if v.Owner != "" {
			to.query = url.Values{"owner": {v.Owner}}
		}
	}
	var last request
	err := to.follow(ctx, func(cursor string, data string) error {
		var e event
		var r request
		if err := json.Unmarshal([]byte(data), &e); err != nil {
			return fmt.Errorf("an event cannot be read: %w", err)
		}
		if err := json.Unmarshal(e.Data, &r); err != nil {
			return fmt.Errorf("the event %s cannot be read: %w", e.ID, err)
		}
		if r.ID != "" {
			last = r
		}
		progress.clear()
		if err := v.print(s, cursor, data, &e, &r); err != nil {
			return err
		}
		if v.ID != "" && r.Percent != nil && r.Status == "processing" {
			progress.show(*r.Percent/100, r.Step)
		}
		return nil
	})
	progress.clear()
	if err != nil || v.ID == "" {
		return err
	}
	// The stream may have been followed from behind its end.
	var now request
	if err := c.get(ctx, "/v1/requests/"+escaped(v.ID), nil, &now); err == nil {
		last = now
	}
	return last.outcome()
}

func (v *followVerb) print(s *Streams, cursor, data string, e *event, r *request) error {
	if v.JSON {
		return line(s.Out, struct {
			Cursor string          `json:"cursor"`
			Event  json.RawMessage `json:"event"`
		}{cursor, json.RawMessage(data)})
	}
	if r.ID == "" { // of a feed
		_, err := fmt.Fprintf(s.Out, "%-20s  %s\n", at(e.Time), plain(e.Type))
		return err
	}
	_, err := fmt.Fprintln(s.Out, strings.TrimRight(fmt.Sprintf("%-20s  %s  %-10s  %s", at(e.Time), plain(r.ID), plain(strings.TrimPrefix(e.Type, "request.")), plain(strings.ReplaceAll(r.about(), "\n", " "))), " "))
	return err
}

// stream is one that is followed through restarts of gateways and cuts of proxies. Of a channel
// each event comes once: the cursor is taken with the whole event, and the next connection begins
// behind it.
type stream struct {
	client *Client
	path   string
	query  url.Values
	after  string
	say    func(string) // is told what becomes of the stream, in a line

	retry time.Duration
}

const (
	silence = 3               // for how many heartbeats nothing may come
	lasting = 5 * time.Second // how long a stream stands that was one, also if nothing happened
)

// errOver: the channel has ended, and so has its stream.
var errOver = errors.New("the channel has ended")

// emptyError is that a stream was opened and ended at once, without an event: by a proxy that has
// no gateway, by a gateway that has no room, by something that is none.
type emptyError struct {
	block string // the last named block in it, if there was one
	err   error
}

func (e *emptyError) Error() string {
	said := "nothing came"
	switch e.block {
	case "":
	case "busy":
		said = "the gateway has no room (busy)"
	case "unavailable":
		said = "the proxy has no gateway (unavailable)"
	default:
		said = "no event came (" + e.block + ")"
	}
	return fmt.Sprintf("the stream was opened and %s: %v", said, e.err)
}

func (e *emptyError) Unwrap() error { return e.err }

// endlessError is that streams ended so for as long as the client is patient.
type endlessError struct {
	client *Client
	last   *emptyError
}

func (e *endlessError) Error() string {
	return fmt.Sprintf("there was no stream at %s for %v, each ended at once, without an event; at last %v. "+
		"Is it the right --url, and what is in front of it? --patience tries for longer", e.client.base, e.client.patience, e.last)
}

func (e *endlessError) Unwrap() error { return e.last }

// follow calls f with each event until the channel has ended, f fails, or for as long as the client
// is patient no gateway has answered, or each stream ended at once without an event. It returns nil
// at the end of the channel.
func (t *stream) follow(ctx context.Context, f func(cursor, data string) error) error {
	quiet, tries, told := time.Now(), 0, ""
	for {
		lived, err := t.once(ctx, f)
		if errors.Is(err, errOver) {
			return nil
		}
		if ctx.Err() != nil {
			return ctx.Err()
		}
		if fatal, ok := errors.AsType[*fatalError](err); ok {
			return fatal.error
		}
		p, refused := errors.AsType[*ProblemError](err)
		if refused && !p.passing() {
			return err
		}
		if lived {
			quiet, tries, told = time.Now(), 0, ""
			t.say("the stream is lost, and opened again: " + err.Error())
		} else if why := err.Error(); why != told {
			told = why
			t.say(fmt.Sprintf("tried again, for up to %v: %s", t.client.patience, why))
		}
		tries++
		wait := backoff.Jitter(max(backoff.Exponential(tries, 100*time.Millisecond, 5*time.Second), min(t.retry, 5*time.Second)))
		if refused {
			wait = max(wait, p.wait)
		}
		if time.Since(quiet)+wait > t.client.patience {
			if empty, ok := errors.AsType[*emptyError](err); ok {
				return &endlessError{t.client, empty}
			}
			return t.client.told(err, refused)
		}
		if err := backoff.Wait(ctx, wait); err != nil {
			return err
		}
	}
}

// fatalError ends a stream that could go on.
type fatalError struct{ error }

// once follows one connection. lived reports whether that was a stream: it had an event, or stood
// for a while.
func (t *stream) once(ctx context.Context, f func(cursor, data string) error) (lived bool, err error) {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	query := url.Values{"heartbeat": {"event"}} // which says how often there is one
	maps.Copy(query, t.query)
	header := http.Header{"Accept": {"text/event-stream"}}
	if t.after != "" {
		header.Set("Last-Event-ID", t.after)
	}
	res, err := t.client.once(ctx, call{method: http.MethodGet, path: t.path, query: query, header: header})
	if err != nil {
		return false, err
	}
	defer func() { _ = res.Body.Close() }()
	if res.StatusCode == http.StatusNoContent {
		return true, errOver
	}
	if kind, _, _ := mime.ParseMediaType(res.Header.Get("Content-Type")); kind != "text/event-stream" {
		return false, &fatalError{fmt.Errorf("%s answers with %q and no stream: is it the right --url, and what is in front of it?", t.client.base, res.Header.Get("Content-Type"))}
	}
	begun, interval, named := time.Now(), time.Minute, ""
	watch := time.AfterFunc(silence*interval, func() { cancel(errors.New("nothing came, not even a heartbeat")) })
	defer watch.Stop()
	in := blocks{bufio.NewReaderSize(heard{res.Body, func() { watch.Reset(silence * interval) }}, 64<<10)}
	for {
		b, err := in.next()
		if err != nil {
			if cause := context.Cause(ctx); cause != nil {
				err = cause
			}
			if lived = lived || time.Since(begun) >= lasting; !lived {
				err = &emptyError{named, err}
			}
			return lived, err
		}
		if b.name != "" && b.name != "heartbeat" {
			named = b.name
		}
		if b.retry > 0 && b.name != "end" {
			t.retry = b.retry
		}
		switch b.name {
		case "":
			if b.data != "" { // else the block only says where to go on, and how soon
				if err := f(b.id, b.data); err != nil {
					return true, &fatalError{err}
				}
				lived = true
			}
			if b.hasID {
				t.after = b.id
			}
		case "start":
			if b.hasID { // a feed without a cursor begins there
				t.after = b.id
			}
		case "heartbeat":
			var about struct {
				Interval float64 `json:"interval"`
			}
			if json.Unmarshal([]byte(b.data), &about) == nil && about.Interval > 0 {
				interval = time.Duration(about.Interval * float64(time.Second))
				watch.Reset(silence * interval)
			}
		case "end":
			return true, errOver
		case "unauthenticated":
			return true, &fatalError{errors.New("the key is not good any more")}
		}
	}
}

// ended is the document of a request that has ended, with all that it says.
type ended struct {
	request
	document json.RawMessage
}

// untilEnd waits for the end of a request, and calls f with each state on the way, and say with
// what becomes of the stream.
func (c *Client) untilEnd(ctx context.Context, id string, say func(string), f func(*request)) (ended, error) {
	t := stream{client: c, path: "/v1/requests/" + escaped(id) + "/events", say: say}
	var last ended
	err := t.follow(ctx, func(_, data string) error {
		var e event
		if err := json.Unmarshal([]byte(data), &e); err != nil {
			return err
		}
		var r request
		if err := json.Unmarshal(e.Data, &r); err != nil || r.ID == "" {
			return err
		}
		last = ended{r, e.Data}
		f(&r)
		return nil
	})
	if err != nil {
		return last, err
	}
	var document json.RawMessage
	if err := c.get(ctx, "/v1/requests/"+escaped(id), nil, &document); err == nil {
		last.document = document
		return last, json.Unmarshal(document, &last.request)
	}
	return last, nil
}
