package cli

import (
	"bufio"
	"errors"
	"io"
	"strings"
	"testing"
	"testing/iotest"
	"time"
)

// TestBlocks: a stream is read by the standard, whichever pieces it comes in, and a block that was
// cut is none.
func TestBlocks(t *testing.T) {
	const text = ":\nevent: start\ndata: {}\nretry: 1500\nid: 3\n\n" +
		":\n\n" + // a heartbeat
		"data: one\nid: 4.abc\n\n" +
		"data:two\r\ndata: lines\r\n\r\n" +
		"unknown: x\n\n" +
		"id:\ndata\n\n" +
		"data: cut\nid: 5\n"
	for name, r := range map[string]io.Reader{"whole": strings.NewReader(text), "by bytes": iotest.OneByteReader(strings.NewReader(text))} {
		in := blocks{bufio.NewReader(r)}
		for i, want := range []block{
			{id: "3", hasID: true, name: "start", data: "{}", retry: 1500 * time.Millisecond},
			{id: "4.abc", hasID: true, data: "one"},
			{data: "two\nlines"},
			{hasID: true},
		} {
			if got, err := in.next(); err != nil || got != want {
				t.Errorf("%s, %d: %+v %v, want %+v", name, i, got, err, want)
			}
		}
		if got, err := in.next(); !errors.Is(err, io.EOF) {
			t.Errorf("%s: %+v %v", name, got, err)
		}
	}
}
