package cli

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"mime"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"github.com/hark-push/hark/settings"
)

type submitVerb struct {
	Remote `embed:""`
	Output `embed:""`

	Route   string `arg:"" help:"What kind of work it is."`
	Content string `arg:"" optional:"" help:"The content, in JSON. Without it, and without --file, there is none."`

	File string `placeholder:"FILE" help:"Take the content from a file; - for the standard input."`
	Type string `placeholder:"TYPE" help:"Media type of it. Default: by the ending of the file, else application/octet-stream."`

	ID               string        `name:"id" help:"Id of the request. Default: the gateway makes one."`
	Topic            string        `help:"Topic that it is followed by together with others."`
	Priority         int           `help:"From 0 to 9; higher ones go first."`
	MaxAttempts      int           `help:"How often it is tried."`
	RetryDelay       time.Duration `help:"Pause before the second attempt."`
	Delay            time.Duration `help:"How long it waits before it may start."`
	Timeout          time.Duration `help:"Time after which it expires."`
	Retention        time.Duration `help:"How long it is kept after its end."`
	ConcurrencyKey   string        `help:"Whom work is for of which only so much is done at a time."`
	ConcurrencyLimit int           `help:"How much."`
	CallbackURL      string        `name:"callback-url" placeholder:"URL" help:"Where its outcome is POSTed to."`
	IdempotencyKey   string        `placeholder:"KEY" help:"Name of this submission: made again, it is the same request. Default: one of its own, so that it is safe to try again."`

	Follow bool `xor:"then" help:"Print each step, as the verb follow does, until it has ended."`
	Wait   bool `xor:"then" help:"Wait for the end, and print the result itself."`
}

// options are those that were given, as the query of a submission has them.
func (v *submitVerb) options() url.Values {
	q := make(url.Values)
	set := func(name, value string, given bool) {
		if given {
			q.Set(name, value)
		}
	}
	set("id", v.ID, v.ID != "")
	set("topic", v.Topic, v.Topic != "")
	set("priority", strconv.Itoa(v.Priority), v.Priority != 0)
	set("maxAttempts", strconv.Itoa(v.MaxAttempts), v.MaxAttempts != 0)
	set("retryDelay", v.RetryDelay.String(), v.RetryDelay != 0)
	set("delay", v.Delay.String(), v.Delay != 0)
	set("timeout", v.Timeout.String(), v.Timeout != 0)
	set("retention", v.Retention.String(), v.Retention != 0)
	set("concurrencyKey", v.ConcurrencyKey, v.ConcurrencyKey != "")
	set("concurrencyLimit", strconv.Itoa(v.ConcurrencyLimit), v.ConcurrencyLimit != 0)
	set("callbackUrl", v.CallbackURL, v.CallbackURL != "")
	return q
}

// content reads what is to be worked on, and what it is.
func (v *submitVerb) content(in io.Reader) (body []byte, kind string, err error) {
	switch {
	case v.File != "" && v.Content != "":
		return nil, "", settings.NotAllowed("file", v.File, "either --file or a content behind the route")
	case v.File == "" && v.Type != "":
		return nil, "", settings.NotAllowed("type", v.Type, "--file beside it: what stands behind the route is JSON")
	case v.File == "" && v.Content == "":
		return nil, "application/json", nil
	case v.File == "":
		if !json.Valid([]byte(v.Content)) {
			return nil, "", Usage(errors.New("the content is not JSON: write '{\"text\":\"hello\"}' or '\"hello\"' with quotes around it, or name a file with --file"))
		}
		return []byte(v.Content), "application/json", nil
	case v.File == "-":
		body, err = io.ReadAll(in)
	default:
		body, err = os.ReadFile(v.File)
	}
	if err != nil {
		return nil, "", settings.NotAllowed("file", v.File, "a file that can be read: "+err.Error())
	}
	if kind = v.Type; kind == "" {
		kind = mime.TypeByExtension(filepath.Ext(v.File))
	}
	if kind == "" {
		kind = "application/octet-stream"
	}
	return body, kind, nil
}

func (v *submitVerb) run(ctx context.Context, s *Streams) error {
	c, err := v.Client()
	if err != nil {
		return err
	}
	body, kind, err := v.content(s.In)
	if err != nil {
		return err
	}
	key := v.IdempotencyKey
	if key == "" {
		key = "hark-cli-" + strings.ToLower(rand.Text())
	}
	query := v.options()
	query.Set("route", v.Route)
	if media, _, _ := mime.ParseMediaType(kind); media == "application/json" {
		// In JSON everything stands in the body.
		fields := make(map[string]any)
		for name := range query {
			fields[name] = query.Get(name)
			switch name {
			case "priority", "maxAttempts", "concurrencyLimit":
				fields[name] = json.Number(query.Get(name))
			}
		}
		if len(body) > 0 {
			fields["content"] = json.RawMessage(body)
		}
		if body, err = json.Marshal(fields); err != nil {
			return Usage(fmt.Errorf("the content is not JSON: %w", err))
		}
		query = nil
	}
	res, err := c.do(ctx, call{method: http.MethodPost, path: "/v1/requests", query: query, body: body, again: true, header: http.Header{
		"Content-Type": {kind}, "Prefer": {"respond-async"}, "Idempotency-Key": {key},
	}})
	if err != nil {
		return err
	}
	text, err := io.ReadAll(res.Body)
	_ = res.Body.Close()
	var r request
	if err == nil {
		err = json.Unmarshal(text, &r)
	}
	if err != nil || r.ID == "" {
		return errors.Join(fmt.Errorf("it was taken, but what %s answers cannot be read", c.base), err)
	}
	switch {
	case v.Follow:
		return (&followVerb{Output: v.Output, ID: r.ID}).follow(ctx, s, c)
	case v.Wait:
		return v.wait(ctx, s, c, r.ID)
	case v.JSON:
		return line(s.Out, json.RawMessage(text))
	}
	_, err = fmt.Fprintln(s.Out, r.ID)
	return err
}

// wait waits for the end, and prints the result.
func (v *submitVerb) wait(ctx context.Context, s *Streams, c *Client, id string) error {
	progress := bar{s: s}
	last, err := c.untilEnd(ctx, id, progress.aside, func(r *request) {
		if r.Percent != nil {
			progress.show(*r.Percent/100, r.about())
		}
	})
	progress.clear()
	if err != nil {
		return fmt.Errorf("waiting for %s, which goes on: %w", id, err)
	}
	if v.JSON {
		return errors.Join(line(s.Out, last.document), last.outcome())
	}
	if err := last.outcome(); err != nil {
		return err
	}
	return c.result(ctx, id, s.Out)
}

// result writes the result of a request.
func (c *Client) result(ctx context.Context, id string, out io.Writer) error {
	res, err := c.do(ctx, call{method: http.MethodGet, path: "/v1/requests/" + escaped(id) + "/result", again: true})
	if err != nil {
		return err
	}
	defer func() { _ = res.Body.Close() }()
	if _, err := io.Copy(out, res.Body); err != nil {
		return fmt.Errorf("the result has not come whole: %w", err)
	}
	return nil
}
