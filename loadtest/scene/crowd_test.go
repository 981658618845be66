package scene

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strconv"
	"strings"
	"sync"
	"testing"

	"github.com/hark-push/hark/loadtest/bench"
)

// message returns a short one in a frame, as gateways send it.
func message(text string) string { return string([]byte{0x81, byte(len(text))}) + text }

// TestCrowd has followers of both wires, whom the server cuts off once each, get all events in
// order.
func TestCrowd(t *testing.T) {
	const events = 5
	var mu sync.Mutex
	cut := make(map[string]bool)
	gateway := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		after, err := strconv.Atoi(r.URL.Query().Get("after"))
		if err != nil {
			t.Errorf("%s: %v", r.URL, err)
		}
		mu.Lock()
		last, key := events, r.URL.Path+r.URL.Query().Get("channel")
		if !cut[key] {
			cut[key], last = true, 3
		}
		mu.Unlock()
		conn, _, err := http.NewResponseController(w).Hijack()
		if err != nil {
			t.Error(err)
			return
		}
		if strings.HasPrefix(r.URL.Path, "/v1/ws") {
			_, _ = io.WriteString(conn, "HTTP/1.1 101 Switching Protocols\r\n\r\n"+message(`{"op":"subscribed","channel":"c","offset":9}`))
			for n := after + 1; n <= last; n++ {
				_, _ = io.WriteString(conn, message(fmt.Sprintf(`{"op":"event","channel":"c","offset":%d,"event":{}}`, n)))
			}
		} else {
			_, _ = io.WriteString(conn, "HTTP/1.1 200 OK\r\n\r\nretry: 2000\n: hello\n")
			for n := after + 1; n <= last; n++ {
				_, _ = fmt.Fprintf(conn, "id: %d\ndata: {}\n\n", n)
			}
		}
		if last < events {
			_ = conn.Close()
		}
	}))
	defer gateway.Close()

	orders, in := io.Pipe()
	out, answers := io.Pipe()
	ended := make(chan error, 1)
	go func() { ended <- new(Crowd).Run(orders, answers) }()
	p := &crowdProcess{orders: json.NewEncoder(in), answers: json.NewDecoder(out)}
	if _, err := p.ask(crowdOrder{Open: &crowdOpen{Addrs: []string{gateway.Listener.Addr().String()}, Of: 1, Groups: []crowdSeat{
		{Prefix: "own", Channels: 4, Seats: 4}, {Prefix: "feed", Channels: 2, Seats: 2, Topic: true},
	}}}); err != nil {
		t.Fatal(err)
	}
	want := []expected{{Base: 2, Each: 1, Full: 3}, {Each: 5, Full: 1}}
	state, err := crowds{p}.arrived(want)
	if err != nil || state.Open != 6 || state.Delivered != 6*events || state.Cut != 6 || state.Returned != 6 {
		t.Errorf("%+v, %v", state, err)
	}
	want[0].Rest = 1
	if state, err := p.ask(crowdOrder{Tell: want}); err != nil || state.Behind != 1 || state.Beyond != 0 {
		t.Errorf("%+v, %v", state, err)
	}
	want[1].Full = 0
	if state, err := p.ask(crowdOrder{Tell: want}); err != nil || state.Beyond != 2 {
		t.Errorf("%+v, %v", state, err)
	}
	_ = in.Close()
	if err := <-ended; err != nil {
		t.Error(err)
	}
}

// Every seat is taken by one process, on a gateway and a wire of its own.
func TestSeatsAreSpread(t *testing.T) {
	s := Soak{Connections: 1000}
	groups := s.groups(4)
	taken := make(map[string]int)
	for share := range 3 {
		o := &crowdOpen{Addrs: []string{"a", "b", "c", "d"}, Groups: groups, Share: share, Of: 3}
		number := 0
		for group, g := range groups {
			for i := range g.Seats {
				if number%o.Of == o.Share {
					seat := newSeat(nil, o, group, i, number)
					taken[seat.addr+" "+seat.wire]++
				}
				number++
			}
		}
		if number != 1000 {
			t.Errorf("%d seats", number)
		}
	}
	for _, addr := range []string{"a", "b", "c", "d"} {
		if sse, ws := taken[addr+" sse"], taken[addr+" ws"]; sse != 125 || ws != 125 {
			t.Errorf("%s has %d streams and %d sockets", addr, sse, ws)
		}
	}
}

func TestExpected(t *testing.T) {
	e := expected{Base: 2, Each: 3, Full: 4, Rest: 1}
	if e.offset(0) != 17 || e.offset(1) != 14 {
		t.Error(e.offset(0), e.offset(1))
	}
}

func TestEnds(t *testing.T) {
	var points []bench.Point
	for i := range 40 {
		points = append(points, bench.Point{float64(i), float64(i)})
	}
	if first, last, most := ends(points); first != 1.5 || last != 37.5 || most != 39 {
		t.Error(first, last, most)
	}
}
