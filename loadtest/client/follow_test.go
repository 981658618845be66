package client

import (
	"bufio"
	"encoding/binary"
	"io"
	"net"
	"strings"
	"testing"
)

// reading returns a follower that reads a text; what it writes goes nowhere.
func reading(text string) *Follower {
	near, far := net.Pipe()
	go func() { _, _ = io.Copy(io.Discard, far) }()
	return &Follower{Conn: near, r: bufio.NewReaderSize(strings.NewReader(text), 4096)}
}

// drain returns what a reader finds until the end, ids in front.
func drain(f *Follower, read func(*Follower) ([]byte, []byte, error)) (found []string, err error) {
	for {
		id, message, err := read(f)
		if err != nil {
			return found, err
		}
		found = append(found, string(id)+"|"+string(message))
	}
}

func TestEvents(t *testing.T) {
	for text, want := range map[string]string{
		"id: 7\ndata: {\"a\":1}\n\n":                         `7| {"a":1}`,
		"id:7\r\ndata:x\r\n\r\n":                             `7|x`,
		": heartbeat\nretry: 2000\n\nid: 1\ndata: a\n\nda":   `1| a`,
		"event: message\ndata: a\n\nid: 2\n\ndata: b\n\n":    `| a,2| b`,
		"id: 3\nevent: request.progress\ndata: c\n\ndata: d": `3| c`,
		"data: a\nid: 4\n\ndata: b\nid: 5\n":                 `4| a`,
		"":                                                   ``,
	} {
		found, err := drain(reading(text), (*Follower).event)
		if got := strings.Join(found, ","); got != want || err != io.EOF {
			t.Errorf("%q: %q, %v", text, got, err)
		}
	}
}

// framed returns a frame as servers send it.
func framed(opcode byte, payload string) string {
	switch n := len(payload); {
	case n < 126:
		return string([]byte{0x80 | opcode, byte(n)}) + payload
	case n < 1<<16:
		return string(binary.BigEndian.AppendUint16([]byte{0x80 | opcode, 126}, uint16(n))) + payload
	default:
		return string(binary.BigEndian.AppendUint64([]byte{0x80 | opcode, 127}, uint64(n))) + payload
	}
}

func TestFrames(t *testing.T) {
	long := strings.Repeat("x", 300)
	for text, want := range map[string]string{
		framed(1, "a") + framed(9, "ping") + framed(1, "b"): "|a,|b",
		framed(1, long) + framed(8, "bye"):                  "|" + long,
		framed(10, "") + framed(2, "binary"):                "|binary",
		framed(1, "cut off")[:5]:                            "",
	} {
		found, err := drain(reading(text), (*Follower).frame)
		if got := strings.Join(found, ","); got != want || err == nil {
			t.Errorf("%q: %q, %v", text, got, err)
		}
	}
}

func TestLines(t *testing.T) {
	found, _ := drain(reading(framed(1, "a\nb")+framed(1, "c\n")+framed(1, "d")), (*Follower).Line)
	if got := strings.Join(found, ","); got != "|a,|b,|c,|d" {
		t.Error(got)
	}
}

func TestChunks(t *testing.T) {
	near, far := net.Pipe()
	go func() {
		_, _ = bufio.NewReader(far).ReadString('\n')
		go func() { _, _ = io.Copy(io.Discard, far) }()
		_, _ = io.WriteString(far, "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n8\r\ndata: {\"\r\n7\r\nn\":5}\n\n\r\n")
		_ = far.Close()
	}()
	f := &Follower{Conn: near}
	f.r = bufio.NewReaderSize(f, 4096)
	if err := f.Stream("/"); err != nil {
		t.Fatal(err)
	}
	if _, message, err := f.event(); string(message) != ` {"n":5}` || err != nil {
		t.Errorf("%q, %v", message, err)
	}
	if f.Received == 0 {
		t.Error("nothing was counted")
	}
}

func TestAfter(t *testing.T) {
	for text, want := range map[string]int{`{"n":12,"m":1}`: 12, `{"n":7}`: 7, `{"n":}`: -1, `{"n":9`: -1, `{}`: -1, `{"n":x}`: -1} {
		n, ok := After([]byte(text), `"n":`, 0)
		if !ok {
			n = -1
		}
		if n != want {
			t.Errorf("%s: %d", text, n)
		}
	}
}

func FuzzMessages(f *testing.F) {
	f.Add("id: 7\ndata: {\"a\":1}\n\n")
	f.Add(framed(1, "a\nb") + framed(9, "ping"))
	f.Add(framed(1, strings.Repeat("x", 70_000)))
	f.Add("\x81\x7f\xff\xff\xff\xff\xff\xff\xff\xff")
	f.Fuzz(func(t *testing.T, text string) {
		for _, read := range []func(*Follower) ([]byte, []byte, error){(*Follower).event, (*Follower).frame, (*Follower).Line} {
			r := reading(text)
			if _, err := drain(r, read); err == nil {
				t.Error("no end")
			}
			_ = r.Conn.Close()
		}
	})
}
