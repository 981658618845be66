package cli

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"
)

type webhooksVerb struct {
	Remote `embed:""`
	Output `embed:""`

	List struct {
		Owner string `placeholder:"NAME" help:"Those of this caller, * for everybody's. For the role admin."`
		Limit int    `default:"50" help:"As many at most; 0: all."`
	} `cmd:"" default:"withargs" help:"List endpoints."`
	Show struct {
		ID string `arg:"" help:"Id of the endpoint."`
	} `cmd:"" help:"Print all that is known of an endpoint, in JSON."`
	Add struct {
		URL         string   `arg:"" name:"to" help:"Where deliveries go."`
		Events      []string `placeholder:"TYPE,…" help:"Types of events, like request.succeeded, or * for all. Default: the ends."`
		Routes      []string `placeholder:"ROUTE,…" help:"Routes. Default: all."`
		Topics      []string `placeholder:"TOPIC,…" help:"Topics. Default: all."`
		Description string   `help:"Words about it."`
		Challenge   string   `placeholder:"NAME" help:"How it has to prove that it may be used: none, handshake or echo."`
	} `cmd:"" help:"Add an endpoint, and print its id and its secret, which is shown this once."`
	Delete struct {
		ID []string `arg:"" help:"Ids of endpoints."`
	} `cmd:"" help:"Delete endpoints, with what waits for them."`
	Test struct {
		ID string `arg:"" help:"Id of the endpoint."`
	} `cmd:"" help:"Send a test, and print its id among the deliveries."`
	Deliveries struct {
		ID    string `arg:"" help:"Id of the endpoint."`
		State string `placeholder:"STATE" help:"Those that are waiting, sending, delivered, dead or superseded."`
		Type  string `placeholder:"TYPE" help:"Those of events of this type."`
		Limit int    `default:"50" help:"As many at most; 0: all."`
	} `cmd:"" help:"List what was sent to an endpoint, and what waits."`
	Resend struct {
		ID       string `arg:"" help:"Id of the endpoint."`
		Delivery string `arg:"" help:"Id of the delivery."`
	} `cmd:"" help:"Send a delivery once more."`
	Recover struct {
		ID    string `arg:"" help:"Id of the endpoint."`
		Since string `required:"" placeholder:"TIME" help:"A time like 2026-01-01T00:00:00Z, or how long ago, like 2h."`
	} `cmd:"" help:"Send what an endpoint has missed since."`
}

func (v *webhooksVerb) run(ctx context.Context, s *Streams, verb string) error {
	c, err := v.Client()
	if err != nil {
		return err
	}
	switch verb {
	case "list":
		return v.list(ctx, s, c)
	case "show":
		var raw json.RawMessage
		if err := c.get(ctx, endpointPath(v.Show.ID), nil, &raw); err != nil {
			return err
		}
		return line(s.Out, raw)
	case "add":
		return v.add(ctx, s, c)
	case "delete":
		return v.delete(ctx, s, c)
	case "test":
		return v.act(ctx, s, c, call{method: http.MethodPost, path: endpointPath(v.Test.ID) + "/test"}, "id")
	case "deliveries":
		return v.deliveries(ctx, s, c)
	case "resend":
		return v.act(ctx, s, c, call{method: http.MethodPost, path: endpointPath(v.Resend.ID) + "/deliveries/" + escaped(v.Resend.Delivery) + "/resend", again: true}, "state")
	default:
		since, err := moment("since", v.Recover.Since, time.Now())
		if err != nil {
			return err
		}
		return v.act(ctx, s, c, call{method: http.MethodPost, path: endpointPath(v.Recover.ID) + "/recover", query: url.Values{"since": {since}}, again: true}, "recovered")
	}
}

func endpointPath(id string) string { return "/v1/webhooks/" + escaped(id) }

// act makes a call and prints one member of the answer, or with --json all of it.
func (v *webhooksVerb) act(ctx context.Context, s *Streams, c *Client, to call, member string) error {
	var raw json.RawMessage
	if err := c.ask(ctx, to, &raw); err != nil {
		return err
	}
	if v.JSON {
		return line(s.Out, raw)
	}
	var fields map[string]any
	if err := json.Unmarshal(raw, &fields); err != nil {
		return err
	}
	_, err := fmt.Fprintln(s.Out, plain(fmt.Sprint(fields[member])))
	return err
}

// endpoint is what is shown of a webhook endpoint.
type endpoint struct {
	ID          string   `json:"id"`
	URL         string   `json:"url"`
	Description string   `json:"description"`
	Status      string   `json:"status"`
	Reason      string   `json:"reason"`
	Events      []string `json:"events"`
	CreatedAt   string   `json:"createdAt"`
}

func (d endpoint) row() []string {
	return []string{d.ID, d.Status, d.URL, strings.Join(d.Events, ","), at(d.CreatedAt), strings.TrimSpace(d.Reason + " " + d.Description)}
}

func (v *webhooksVerb) list(ctx context.Context, s *Streams, c *Client) error {
	return listing[endpoint]{
		path: "/v1/webhooks", member: "webhooks", options: map[string]string{"owner": v.List.Owner}, limit: v.List.Limit,
		columns: []string{"ID", "STATUS", "URL", "EVENTS", "ADDED", "ABOUT"}, row: endpoint.row,
	}.print(ctx, s, c, v.Output)
}

func (v *webhooksVerb) add(ctx context.Context, s *Streams, c *Client) error {
	fields := map[string]any{"url": v.Add.URL}
	for name, list := range map[string][]string{"events": v.Add.Events, "routes": v.Add.Routes, "topics": v.Add.Topics} {
		if len(list) > 0 {
			fields[name] = list
		}
	}
	for name, text := range map[string]string{"description": v.Add.Description, "challenge": v.Add.Challenge} {
		if text != "" {
			fields[name] = text
		}
	}
	body, err := json.Marshal(fields)
	if err != nil {
		return err
	}
	var raw json.RawMessage
	if err := c.ask(ctx, call{method: http.MethodPost, path: "/v1/webhooks", body: body, again: true, header: http.Header{
		"Content-Type": {"application/json"}, "Idempotency-Key": {"hark-cli-" + strings.ToLower(rand.Text())},
	}}, &raw); err != nil {
		return err
	}
	if v.JSON {
		return line(s.Out, raw)
	}
	var d struct {
		ID     string `json:"id"`
		Secret string `json:"secret"`
	}
	if err := json.Unmarshal(raw, &d); err != nil {
		return err
	}
	t := newTable(s.Out, "id", d.ID)
	t.row("secret", d.Secret)
	return t.end()
}

func (v *webhooksVerb) delete(ctx context.Context, s *Streams, c *Client) error {
	for _, id := range v.Delete.ID {
		if err := c.ask(ctx, call{method: http.MethodDelete, path: endpointPath(id), again: true}, nil); err != nil {
			return fmt.Errorf("%s: %w", id, err)
		}
		var err error
		if v.JSON {
			err = line(s.Out, map[string]string{"id": id, "status": "deleted"})
		} else {
			_, err = fmt.Fprintln(s.Out, plain(id), "deleted")
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// delivery is what is shown of a delivery to an endpoint.
type delivery struct {
	ID        string `json:"id"`
	Type      string `json:"type"`
	Request   string `json:"request"`
	State     string `json:"state"`
	Attempts  int    `json:"attempts"`
	Due       string `json:"due"`
	CreatedAt string `json:"createdAt"`
}

func (d delivery) row() []string {
	return []string{d.ID, d.State, d.Type, d.Request, strconv.Itoa(d.Attempts), at(d.CreatedAt), at(d.Due)}
}

func (v *webhooksVerb) deliveries(ctx context.Context, s *Streams, c *Client) error {
	d := v.Deliveries
	return listing[delivery]{
		path: endpointPath(d.ID) + "/deliveries", member: "deliveries", options: map[string]string{"state": d.State, "type": d.Type}, limit: d.Limit,
		columns: []string{"ID", "STATE", "TYPE", "REQUEST", "ATTEMPTS", "MADE", "DUE"}, row: delivery.row,
	}.print(ctx, s, c, v.Output)
}
