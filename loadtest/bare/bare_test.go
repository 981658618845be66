//go:build linux

package main

import (
	"bufio"
	"strings"
	"testing"
)

func TestMessagesAreAsLongAsTheyShould(t *testing.T) {
	for _, size := range []int{60, 127, 128, 129, 200, 1125} {
		f := &fanout{size: size}
		if got := f.event("12"); len(got) != size || !strings.HasPrefix(string(got), `data: {"n":12,`) || !strings.HasSuffix(string(got), "x\"}\n\n") {
			t.Errorf("%d: an event of %d: %q", size, len(got), got)
		}
		got := f.frame("12")
		head := 2
		if got[1] == 126 {
			head = 4
		}
		// One byte more than a short frame has cannot be framed in as many.
		if size != 128 && size != 129 && len(got) != size || !strings.HasPrefix(string(got[head:]), `{"n":12,`) {
			t.Errorf("%d: a frame of %d: %q", size, len(got), got)
		}
	}
}

func TestReadHead(t *testing.T) {
	for text, want := range map[string][3]string{
		"GET /a HTTP/1.1\r\nHost: x\r\n\r\n":                          {"GET", "/a", ""},
		"GET /a HTTP/1.1\r\nsec-websocket-KEY: k \r\nHost: x\r\n\r\n": {"GET", "/a", "k"},
		"POST /a/7 HTTP/1.1\r\nContent-Length: 0\r\n\r\n":             {"POST", "/a/7", ""},
		"nonsense\r\n\r\n": {},
		"GET /a HTTP/1.1":  {},
	} {
		method, path, key, err := readHead(bufio.NewReader(strings.NewReader(text)))
		if got := [3]string{method, path, key}; got != want || (err != nil) != (want[0] == "") {
			t.Errorf("%q: %q, %v", text, got, err)
		}
	}
}
