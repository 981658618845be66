package cli

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strconv"
	"time"

	"github.com/hark-push/hark/settings"
)

type deadVerb struct {
	Remote `embed:""`
	Output `embed:""`

	List struct {
		Route  string `arg:"" optional:"" help:"List what has failed on this route. Without it: how much has, of each route."`
		Before string `placeholder:"TIME" help:"What ended before: a time like 2026-01-01T00:00:00Z, or how long ago, like 2h."`
		Limit  int    `default:"50" help:"As many at most; 0: all."`
	} `cmd:"" default:"withargs" help:"List what has failed."`
	Redrive struct {
		Route  string `arg:"" help:"The route."`
		Before string `placeholder:"TIME" help:"Those that ended before. Default: until now."`
	} `cmd:"" help:"Let all that has failed on a route be worked on once more."`
	Purge struct {
		Route  string `arg:"" help:"The route."`
		Before string `placeholder:"TIME" help:"Those that ended before. Default: until now."`
		Yes    bool   `help:"Do not ask."`
	} `cmd:"" help:"Forget all that has failed on a route."`
	Messages struct {
		Route   string `arg:"" help:"The route."`
		Limit   int    `default:"50" help:"As many at most, from 1 to 200."`
		Redrive bool   `xor:"do" help:"Hand those back to the queue that are work."`
		Purge   bool   `xor:"do" help:"Forget them."`
		Yes     bool   `help:"Do not ask."`
	} `cmd:"" help:"List the messages that the queue of a route has put aside, and redrive or purge them."`
}

func (v *deadVerb) run(ctx context.Context, s *Streams, verb string) error {
	c, err := v.Client()
	if err != nil {
		return err
	}
	switch verb {
	case "list":
		return v.list(ctx, s, c)
	case "redrive":
		return v.many(ctx, s, c, v.Redrive.Route, v.Redrive.Before, "redriven")
	case "purge":
		if err := s.sure(v.Purge.Yes, "To purge what has failed on "+v.Purge.Route); err != nil {
			return err
		}
		return v.many(ctx, s, c, v.Purge.Route, v.Purge.Before, "purged")
	default:
		return v.messages(ctx, s, c)
	}
}

// deadRoute is what has failed on one route.
type deadRoute struct {
	Route    string `json:"route"`
	Requests int64  `json:"requests"`
	Oldest   string `json:"oldest"`
	Newest   string `json:"newest"`
	Messages *int   `json:"messages"`
}

func (d deadRoute) row() []string {
	messages := ""
	if d.Messages != nil {
		messages = strconv.Itoa(*d.Messages)
	}
	return []string{d.Route, strconv.FormatInt(d.Requests, 10), messages, at(d.Oldest), at(d.Newest)}
}

// deadRequest is what is shown of a request that has failed.
type deadRequest struct {
	Owner    string  `json:"owner"`
	Failures int     `json:"failures"`
	Request  request `json:"request"`
}

func (d deadRequest) row() []string {
	return []string{d.Request.ID, d.Owner, strconv.Itoa(d.Failures), at(d.Request.EndedAt), d.Request.why()}
}

func (v *deadVerb) list(ctx context.Context, s *Streams, c *Client) error {
	before, err := moment("before", v.List.Before, time.Now())
	if err != nil {
		return err
	}
	if v.List.Route == "" {
		if before != "" {
			return settings.NotAllowed("before", v.List.Before, "the name of a route beside it")
		}
		return listing[deadRoute]{
			path: "/v1/dead", member: "routes", limit: v.List.Limit,
			columns: []string{"ROUTE", "REQUESTS", "MESSAGES", "OLDEST", "NEWEST"}, row: deadRoute.row,
		}.print(ctx, s, c, v.Output)
	}
	return listing[deadRequest]{
		path: "/v1/dead/" + escaped(v.List.Route), member: "requests", options: map[string]string{"before": before}, limit: v.List.Limit,
		columns: []string{"ID", "OWNER", "FAILURES", "ENDED", "ERROR"}, row: deadRequest.row,
	}.print(ctx, s, c, v.Output)
}

// idle is after how many answers without progress a gateway is believed to make none.
const idle = 5

// many redrives or purges all that has failed on a route, call after call, until nothing is left of
// what had ended when it began. What is done stays done if it breaks off.
func (v *deadVerb) many(ctx context.Context, s *Streams, c *Client, route, before, what string) error {
	until, err := moment("before", before, time.Now())
	if err != nil {
		return err
	}
	to := call{method: http.MethodPost, path: "/v1/dead/" + escaped(route) + "/redrive", again: true}
	if what == "purged" {
		to.method, to.path = http.MethodDelete, "/v1/dead/"+escaped(route)
	}
	total := c.dead(ctx, s, route)
	progress := bar{s: s}
	done, still := 0, 0
	for more := true; more; {
		to.query = make(url.Values)
		if until != "" {
			to.query.Set("before", until)
		}
		var answer struct {
			Redriven int    `json:"redriven"`
			Purged   int    `json:"purged"`
			More     bool   `json:"more"`
			Before   string `json:"before"`
		}
		if err := c.ask(ctx, to, &answer); err != nil {
			progress.clear()
			return fmt.Errorf("%d were %s, then: %w", done, what, err)
		}
		n := answer.Redriven + answer.Purged
		done, more, until = done+n, answer.More, answer.Before
		if still++; n > 0 {
			still = 0
		}
		if more && still == idle {
			progress.clear()
			return fmt.Errorf("%d were %s, and the gateway gets no further: its log says why", done, what)
		}
		if total > 0 {
			progress.show(float64(done)/float64(total), fmt.Sprintf("%d %s", done, what))
		}
	}
	progress.clear()
	return v.done(s, route, what, done)
}

func (v *deadVerb) done(s *Streams, route, what string, n int) error {
	if v.JSON {
		return line(s.Out, map[string]any{"route": route, what: n})
	}
	_, err := fmt.Fprintf(s.Out, "%d %s on %s\n", n, what, plain(route))
	return err
}

// dead returns how many requests have failed on a route, for who looks at the progress; 0 if that
// is not known, or nobody looks.
func (c *Client) dead(ctx context.Context, s *Streams, route string) (total int64) {
	if !s.Terminal {
		return 0
	}
	found := errors.New("found")
	_ = c.pages(ctx, "/v1/dead", make(url.Values), "routes", 0, func(raw json.RawMessage) error {
		var d deadRoute
		if err := json.Unmarshal(raw, &d); err != nil || d.Route != route {
			return err
		}
		total = d.Requests
		return found
	})
	return total
}

func (v *deadVerb) messages(ctx context.Context, s *Streams, c *Client) error {
	m := v.Messages
	path := "/v1/dead/" + escaped(m.Route) + "/messages"
	if m.Redrive || m.Purge {
		to, what := call{method: http.MethodPost, path: path + "/redrive", again: true}, "redriven"
		if m.Purge {
			if err := s.sure(m.Yes, "To purge the messages of "+m.Route); err != nil {
				return err
			}
			to, what = call{method: http.MethodDelete, path: path, again: true}, "purged"
		}
		var answer map[string]int
		if err := c.ask(ctx, to, &answer); err != nil {
			return err
		}
		return v.done(s, m.Route, what, answer[what])
	}
	if err := settings.Between("limit", m.Limit, 1, 200); err != nil {
		return err
	}
	var page struct {
		Count    int               `json:"count"`
		Messages []json.RawMessage `json:"messages"`
	}
	if err := c.get(ctx, path, url.Values{"limit": {strconv.Itoa(m.Limit)}}, &page); err != nil {
		return err
	}
	if v.JSON {
		for _, raw := range page.Messages {
			if err := line(s.Out, raw); err != nil {
				return err
			}
		}
		return nil
	}
	t := newTable(s.Out, "AT", "REASON", "REQUEST", "SIZE", "WRONG")
	for _, raw := range page.Messages {
		var d struct {
			Reason  string `json:"reason"`
			Request string `json:"request"`
			Wrong   string `json:"wrong"`
			Size    int    `json:"size"`
			At      string `json:"at"`
		}
		if err := json.Unmarshal(raw, &d); err != nil {
			return err
		}
		t.row(at(d.At), d.Reason, d.Request, strconv.Itoa(d.Size), d.Wrong)
	}
	if err := t.end(); err != nil {
		return err
	}
	if page.Count > len(page.Messages) {
		_, _ = fmt.Fprintf(s.Err, "hark: these are the first %d of %d\n", len(page.Messages), page.Count)
	}
	return nil
}
