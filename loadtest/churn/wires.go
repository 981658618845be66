package churn

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"

	"github.com/coder/websocket"
)

// stream follows by Server-Sent Events, over the proxy of any gateway.
func (f *follower) stream(ctx context.Context, key string) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	target := "http://" + f.proxies[f.random.IntN(len(f.proxies))].addr + f.path
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, target, nil)
	if err != nil {
		return err
	}
	r.Header.Set("Accept", "text/event-stream")
	r.Header.Set("Authorization", "Bearer "+key)
	if f.cursor != "" {
		if one(f.random, 2) {
			r.Header.Set("Last-Event-ID", f.cursor)
		} else {
			r.URL.RawQuery = url.Values{"lastEventId": {f.cursor}}.Encode()
		}
	}
	res, err := f.streams.Do(r)
	if err != nil {
		return err
	}
	defer func() { _ = res.Body.Close() }()
	switch res.StatusCode {
	case http.StatusOK:
	case http.StatusNoContent:
		return errEnded
	case http.StatusNotFound:
		return errGone
	case http.StatusUnauthorized:
		return errRevoked
	case http.StatusServiceUnavailable:
		return errStatus
	default:
		f.ledger.violate("%s: answered with %d", f.name, res.StatusCode)
		return errWrong
	}
	defer f.hold(key)()
	m := f.moods(ctx)
	lines := bufio.NewReaderSize(res.Body, 4096)
	block := said{op: "event"}
	for ended := false; ; {
		line, err := lines.ReadString('\n')
		if err != nil {
			// The body is whole only behind the end; RFC 9112, section 7.1.
			if whole := errors.Is(err, io.EOF); whole != ended && ctx.Err() == nil && whole {
				f.ledger.violate("%s: the stream's body is whole at %d, without an end", f.name, f.at)
			}
			if ended {
				return errEnded
			}
			return err
		}
		line = strings.TrimRight(line, "\r\n")
		field, value, _ := strings.Cut(line, ":")
		value = strings.TrimPrefix(value, " ")
		switch {
		case line == "":
			if block.event == nil {
				continue
			}
			err := f.take(ctx, &m, block)
			block = said{op: "event"}
			if errors.Is(err, errEnded) {
				ended = true
			} else if err != nil {
				return err
			}
		case field == "data":
			block.event = append(block.event, value...)
		case field == "event":
			block.op = value
		case field == "id":
			block.cursor = value
			offset, _, _ := strings.Cut(value, "-")
			if block.offset, err = strconv.Atoi(offset); err != nil {
				f.ledger.violate("%s: the id %q is no cursor", f.name, value)
				return errWrong
			}
		}
	}
}

// socket follows by WebSocket.
func (f *follower) socket(ctx context.Context, key string) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	q := url.Values{"channel": {f.channel}}
	if f.cursor != "" {
		q.Set("after", f.cursor)
	}
	target := "ws://" + f.proxies[f.random.IntN(len(f.proxies))].addr + "/v1/ws?" + q.Encode()
	dialing, cancelDial := context.WithTimeout(ctx, 30*time.Second)
	ws, res, err := websocket.Dial( //nolint:bodyclose // Dial says that the body need not be closed
		dialing, target, &websocket.DialOptions{
			HTTPClient: f.streams, Subprotocols: []string{"hark.v1"}, HTTPHeader: http.Header{"Authorization": {"Bearer " + key}},
		})
	cancelDial()
	if err != nil {
		if res != nil && res.StatusCode != http.StatusServiceUnavailable && res.StatusCode > 300 {
			f.ledger.violate("%s: the handshake is answered with %d", f.name, res.StatusCode)
			return errWrong
		}
		return err
	}
	defer func() { _ = ws.CloseNow() }()
	ws.SetReadLimit(1 << 20)
	defer f.hold(key)()
	m := f.moods(ctx)
	for {
		_, text, err := ws.Read(ctx)
		if err != nil {
			switch code := websocket.CloseStatus(err); code {
			case 4502, 4503:
				return errRevoked
			case -1, 1000, 1001, 1006, 1011, 1012, 1013, 4000, 4001:
				if code > 0 {
					f.ledger.count(fmt.Sprintf("sockets closed with %d", code))
				}
			default:
				f.ledger.violate("%s: closed with %d: %v", f.name, code, err)
				return errWrong
			}
			return err
		}
		var message struct {
			Op, Channel string
			Offset      int
			Event       json.RawMessage
			Recovered   bool
			Problem     struct {
				Type   string
				Status int
			}
		}
		if err := json.Unmarshal(text, &message); err != nil {
			f.ledger.violate("%s: %v: %.200s", f.name, err, text)
			return errWrong
		}
		if message.Op == "error" {
			switch message.Problem.Status {
			case http.StatusNotFound:
				return errGone
			case http.StatusUnauthorized:
				continue // and is closed
			case http.StatusServiceUnavailable:
				return errStatus
			}
			f.ledger.violate("%s: %s", f.name, text)
			return errWrong
		}
		s := said{op: message.Op, offset: message.Offset, cursor: f.cursorOf(text, message.Offset), event: message.Event, recovered: message.Recovered}
		if err := f.take(ctx, &m, s); err != nil {
			return err
		}
	}
}
