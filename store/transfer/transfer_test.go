package transfer_test

import (
	"regexp"
	"strings"
	"testing"

	"github.com/hark-push/hark/lifecycle"
	"github.com/hark-push/hark/store/transfer"
)

type source []transfer.Line

func (s source) Export(emit func(transfer.Line) error, _ func(error)) error {
	for _, l := range s {
		if err := emit(l); err != nil {
			return err
		}
	}
	return nil
}

// FuzzRead: whatever is read, it ends with one error, or with lines that are read the same when
// they are written down again.
func FuzzRead(f *testing.F) {
	var whole strings.Builder
	r := transfer.Record(lifecycle.Request{ID: "a", Owner: "alice", Status: lifecycle.Pending, StartedBy: "\xff"})
	if _, err := transfer.Write(&whole, source{
		{Kind: transfer.Request, Request: &r, Serial: 1, Ticket: 2}, {Kind: transfer.Content, Part: transfer.Input, Data: []byte("x")},
	}, nil, nil); err != nil {
		f.Fatal(err)
	}
	f.Add(whole.String())
	f.Add(whole.String()[:whole.Len()-3])
	f.Add("\xef\xbb\xbf" + whole.String())
	f.Add("{\"kind\":\"hark-export\",\"version\":1}\n{\"kind\":\"end\",\"lines\":2}\n")
	f.Fuzz(func(t *testing.T, text string) {
		read := func(text string) (lines source, failed int) {
			for l, err := range transfer.Read(strings.NewReader(text), nil) {
				if err != nil {
					failed++
					continue
				}
				lines = append(lines, l)
			}
			return lines, failed
		}
		lines, failed := read(text)
		if failed > 1 {
			t.Fatalf("%d errors", failed)
		}
		if failed == 1 {
			return
		}
		var again strings.Builder
		if _, err := transfer.Write(&again, lines, nil, nil); err != nil {
			return // what JSON takes and does not give, like a time beyond its years
		}
		if back, failed := read(again.String()); failed > 0 || len(back) != len(lines) {
			t.Errorf("%d lines, then %d, %d errors", len(lines), len(back), failed)
		}
	})
}

// TestChangedExport: an export that was changed is refused, whichever byte it was; what is from
// before there were sums is taken, and known.
func TestChangedExport(t *testing.T) {
	var made strings.Builder
	lines, err := transfer.Write(&made, source{
		{Kind: transfer.Content, Part: transfer.Input, Data: []byte("some content")},
		{Kind: transfer.Kept, ID: "tickets", Data: []byte("a key")},
	}, nil, nil)
	if err != nil {
		t.Fatal(err)
	}
	whole := made.String()
	read := func(text string) (seen transfer.Seen, failed error) {
		for _, err := range transfer.Read(strings.NewReader(text), &seen) {
			failed = err
		}
		return seen, failed
	}
	if seen, err := read(whole); err != nil || !seen.Summed || seen.Lines != lines || lines != 4 {
		t.Errorf("%+v of %d lines, %v", seen, lines, err)
	}
	for at := range len(whole) {
		for _, bit := range []byte{1, 2, 0x20} {
			changed := []byte(whole)
			changed[at] ^= bit
			if _, err := read(string(changed)); err == nil {
				t.Errorf("a change at %d is taken: %s", at, changed)
			}
		}
	}
	sums := regexp.MustCompile(`,"sum":"[^"]*"`)
	if seen, err := read(sums.ReplaceAllString(whole, "")); err != nil || seen.Summed || seen.Lines != lines {
		t.Errorf("without sums: %+v, %v", seen, err)
	}
	r := transfer.Record(lifecycle.Request{ID: "a", Owner: "alice", Status: lifecycle.Pending})
	var withRequest strings.Builder
	if _, err := transfer.Write(&withRequest, source{{Kind: transfer.Request, Request: &r}}, nil, nil); err != nil {
		t.Fatal(err)
	}
	end := strings.LastIndex(whole, `,"sum"`)
	for name, c := range map[string]struct{ text, says string }{
		"another content": {strings.Replace(whole, "c29tZSBjb250ZW50", "c29tZSBjb250ZW51", 1), "line 4: the export is not what was written"},
		"no last sum":     {whole[:end] + "}\n", "line 4: the export is not what was written"},
		"no first sum":    {strings.Replace(whole, `,"sum":"crc32c"`, "", 1), "line 4: the export is not what was written"},
		"another's sum":   {strings.Replace(whole, "crc32c", "sha256", 1), `line 1: the export has a sum "sha256"`},
		"CR LF":           {strings.ReplaceAll(whole, "\n", "\r\n"), "ends of lines"},
		"a member":        {strings.Replace(whole, `"part":`, `"pärt":1,"part":`, 1), `line 2: it is no line of an export: this program knows no member "pärt"`},
		"a member within": {`{"kind":"hark-export","version":1}` + "\n" + `{"kind":"request","request":{"id":"a","nme":1}}` + "\n", `line 2: it is no line of an export: this program knows no member "nme"`},
		"another owner": {
			strings.Replace(withRequest.String(), `"owner":"alice"`, `"owner":"bob"`, 1),
			`line 2: it is no line of an export: request "a": its owner, route or status is not that of its record`,
		},
		"two objects": {strings.Replace(whole, "}\n", "}{}\n", 1), "line 1: it is no line of an export: something stands behind it"},
		"two exports": {`{"kind":"hark-export","version":1}` + "\n" + whole, "line 2: another export begins"},
		"a BOM":       {"\xef\xbb\xbf" + whole, "line 1: it begins with a byte order mark, which an editor has put there: use"},
		"UTF-16":      {"\xff\xfe{\x00\n\x00", "line 1: it begins with a byte order mark of UTF-16, which PowerShell's > writes: let"},
		"gzip":        {"\x1f\x8b\x08\n", "line 1: it begins with what gzip writes: unpack"},
	} {
		if _, err := read(c.text); err == nil || !strings.Contains(err.Error(), c.says) {
			t.Errorf("%s: %v", name, err)
		}
	}
}
