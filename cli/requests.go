package cli

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"os"
	"strconv"
	"time"

	"github.com/hark-push/hark/settings"
)

type requestsVerb struct {
	Remote `embed:""`
	Output `embed:""`

	List struct {
		Status string `placeholder:"STATUS" help:"Those that are pending, processing, waiting, succeeded, failed, canceled or expired."`
		Route  string `placeholder:"ROUTE" help:"Those of this route."`
		Topic  string `placeholder:"TOPIC" help:"Those with this topic."`
		Owner  string `placeholder:"NAME" help:"Those of this caller, * for everybody's. For the role admin."`
		Since  string `placeholder:"TIME" help:"Those that were submitted since: a time like 2026-01-01T00:00:00Z, or how long ago, like 2h."`
		Until  string `placeholder:"TIME" help:"Those that were submitted before."`
		Limit  int    `default:"50" help:"As many at most; 0: all."`
	} `cmd:"" default:"withargs" help:"List requests, the newest first."`
	Show struct {
		ID string `arg:"" help:"Id of the request."`
	} `cmd:"" help:"Show all that is known of a request."`
	Result struct {
		ID  string `arg:"" help:"Id of the request."`
		Out string `short:"o" default:"-" placeholder:"FILE" help:"Where the result goes; - for the standard output."`
	} `cmd:"" help:"Print the result of a request, byte for byte."`
	Cancel struct {
		ID []string `arg:"" help:"Ids of requests."`
	} `cmd:"" help:"Cancel requests. What is worked on ends when its processor hears of it."`
	Redrive struct {
		ID []string `arg:"" help:"Ids of requests."`
	} `cmd:"" help:"Let requests that have failed be worked on once more. For the role admin."`
	Delete struct {
		ID []string `arg:"" help:"Ids of requests."`
	} `cmd:"" help:"Forget requests that have ended, with all that is stored of them."`
}

// moment reads a time, or how long ago it was, and returns it as the interface has it; "" for "".
func moment(flag, text string, now time.Time) (string, error) {
	if text == "" {
		return "", nil
	}
	if _, err := time.Parse(time.RFC3339, text); err == nil {
		return text, nil
	}
	ago, err := time.ParseDuration(text)
	if err != nil || ago < 0 {
		return "", settings.NotAllowed(flag, text, "a time like 2026-01-01T00:00:00Z (RFC 3339), or how long ago, like 90m or 2h")
	}
	return now.Add(-ago).UTC().Format(time.RFC3339), nil
}

// run does what the verb behind `requests` says.
func (v *requestsVerb) run(ctx context.Context, s *Streams, verb string) error {
	c, err := v.Client()
	if err != nil {
		return err
	}
	switch verb {
	case "list":
		return v.list(ctx, s, c)
	case "show":
		return v.show(ctx, s, c)
	case "result":
		return v.result(ctx, s, c)
	case "cancel":
		return v.each(ctx, s, c, v.Cancel.ID, http.MethodPost, "/cancel")
	case "redrive":
		return v.each(ctx, s, c, v.Redrive.ID, http.MethodPost, "/redrive")
	default:
		return v.each(ctx, s, c, v.Delete.ID, http.MethodDelete, "")
	}
}

func (v *requestsVerb) list(ctx context.Context, s *Streams, c *Client) error {
	l := v.List
	since, err := moment("since", l.Since, time.Now())
	if err != nil {
		return err
	}
	until, err := moment("until", l.Until, time.Now())
	if err != nil {
		return err
	}
	// Whose they are is said where they may be anybody's.
	columns, owner := []string{"OWNER", "ID", "STATUS", "ROUTE", "TOPIC", "SUBMITTED", "ATTEMPT", "ABOUT"}, 0
	if l.Owner == "" {
		owner = 1
	}
	return listing[request]{
		path: "/v1/requests", member: "requests", limit: l.Limit,
		options: map[string]string{"status": l.Status, "route": l.Route, "topic": l.Topic, "owner": l.Owner, "since": since, "until": until},
		columns: columns[owner:],
		row: func(r request) []string {
			return []string{r.Owner, r.ID, r.Status, r.Route, r.Topic, at(r.CreatedAt), strconv.Itoa(r.Attempt), r.about()}[owner:]
		},
	}.print(ctx, s, c, v.Output)
}

func (v *requestsVerb) show(ctx context.Context, s *Streams, c *Client) error {
	var raw json.RawMessage
	if err := c.get(ctx, "/v1/requests/"+escaped(v.Show.ID), nil, &raw); err != nil {
		return err
	}
	if v.JSON {
		return line(s.Out, raw)
	}
	return printRequest(s, raw)
}

// printRequest prints what a document says to people: a line for each thing.
func printRequest(s *Streams, raw json.RawMessage) error {
	var r request
	if err := json.Unmarshal(raw, &r); err != nil {
		return err
	}
	t := newTable(s.Out, "id", r.ID)
	say := func(name, value string) {
		if value != "" {
			t.row(name, value)
		}
	}
	say("owner", r.Owner)
	say("status", r.Status)
	say("about", r.about())
	say("route", r.Route)
	say("topic", r.Topic)
	say("attempt", fmt.Sprint(r.Attempt))
	say("submitted", at(r.CreatedAt))
	say("started", at(r.StartedAt))
	say("changed", at(r.UpdatedAt))
	say("ended", at(r.EndedAt))
	if r.EndedAt == "" {
		say("expires", at(r.ExpiresAt))
		say("ends, by estimate", at(r.ETA))
	}
	if r.Result != nil {
		say("result", fmt.Sprintf("%s, %d bytes", r.Result.ContentType, r.Result.Size))
	}
	return t.end()
}

func (v *requestsVerb) result(ctx context.Context, s *Streams, c *Client) (err error) {
	if v.Result.Out == "-" {
		return c.result(ctx, v.Result.ID, s.Out)
	}
	file, err := os.OpenFile(v.Result.Out, os.O_WRONLY|os.O_CREATE|os.O_TRUNC, 0o600)
	if err != nil {
		return settings.NotAllowed("out", v.Result.Out, "a file that can be written: "+err.Error())
	}
	if err = c.result(ctx, v.Result.ID, file); err != nil {
		_ = file.Close()
		_ = os.Remove(v.Result.Out) // half of a result is none
		return err
	}
	return file.Close()
}

// each makes the same call for each of some requests, goes on where one is refused, and returns the
// last refusal.
func (v *requestsVerb) each(ctx context.Context, s *Streams, c *Client, ids []string, method, what string) (failed error) {
	for _, id := range ids {
		// A second cancel or delete finds that it is done; a redrive may be refused then.
		res, err := c.do(ctx, call{method: method, path: "/v1/requests/" + escaped(id) + what, again: what != "/redrive"})
		if err != nil {
			failed = fmt.Errorf("%s: %w", id, err)
			if _, refused := errors.AsType[*ProblemError](err); !refused {
				return failed
			}
			if id != ids[len(ids)-1] {
				_, _ = fmt.Fprintln(s.Err, "hark:", plain(failed.Error()))
			}
			continue
		}
		var raw json.RawMessage
		if res.StatusCode != http.StatusNoContent {
			_ = json.NewDecoder(res.Body).Decode(&raw)
		}
		_ = res.Body.Close()
		switch {
		case v.JSON && raw != nil:
			err = line(s.Out, raw)
		case v.JSON:
			err = line(s.Out, map[string]string{"id": id, "status": "deleted"})
		default:
			r := request{ID: id, Status: "deleted"}
			if raw != nil {
				_ = json.Unmarshal(raw, &r)
			}
			_, err = fmt.Fprintln(s.Out, plain(r.ID), plain(r.Status))
		}
		if err != nil {
			return err
		}
	}
	return failed
}
