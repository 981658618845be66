package bolt

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	bolt "go.etcd.io/bbolt"

	"github.com/hark-push/hark/gateway/wire"
	"github.com/hark-push/hark/lifecycle"
	"github.com/hark-push/hark/store/codec"
	"github.com/hark-push/hark/stream"
	"github.com/hark-push/hark/webhook/dispatch"
)

// damageEnv says how many places of each kind TestDamages damages; CI tries a sample.
const damageEnv = "HARK_TEST_DAMAGES"

// furnish puts something of everything into a store.
func furnish(t *testing.T, s *Store) {
	t.Helper()
	ctx := t.Context()
	for _, id := range []string{"one", "two"} {
		if _, err := s.CreateEndpoint(ctx, dispatch.Endpoint{
			ID: id, Owner: "alice", URL: "https://example.com/" + id, Status: dispatch.Active, Concurrency: 1,
			Secrets: []dispatch.Secret{{Value: []byte("whsec_" + id)}},
		}); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := s.PutIfAbsent(ctx, "tickets", []byte("the key of tickets")); err != nil {
		t.Fatal(err)
	}
	for i := range 40 {
		sub := request(fmt.Sprintf("r%02d", i))
		sub.Owner = []string{"alice", "bob"}[i%2]
		sub.Topic = []string{"", "cats", "dogs"}[i%3]
		sub.Content = lifecycle.Content{Type: "text/plain", Data: bytes.Repeat([]byte(sub.ID), 1+i*i*i/4)}
		if i%4 == 0 {
			sub.Key, sub.KeyLock, sub.Fingerprint = "key-"+sub.ID, time.Minute, "f"+sub.ID
		}
		if _, err := s.Create(ctx, sub); err != nil {
			t.Fatal(err)
		}
		result := &lifecycle.Content{Type: "text/plain", Data: bytes.Repeat([]byte("="+sub.ID), 1+i*37)}
		if i%3 > 0 { // in documents and events, too
			result, _ = words(sub.ID, 1+i*i*10, i%3 == 1)
		}
		changes := []lifecycle.Change{
			lifecycle.Start{},
			lifecycle.Progress{Percent: new(5.0)},
			lifecycle.Succeed{Result: result},
		}
		for _, c := range changes[:min(i%5, 3)] {
			r, err := s.Apply(ctx, lifecycle.Named(sub.ID), c)
			if err != nil {
				t.Fatal(err)
			}
			if r.Status != lifecycle.Processing || i%5 == 1 && i%2 == 0 {
				continue
			}
			if _, err := s.AppendStream(ctx, lifecycle.OutputName(r.Ref()), stream.Append{
				Type: "text/plain", Body: bytes.Repeat([]byte(">"+sub.ID), 1+i*i), Attempt: 1,
			}); err != nil {
				t.Fatal(err)
			}
		}
	}
	furnishStreams(t, s)
	claims, _, err := s.Claim(ctx, 4, time.Minute)
	if err != nil || len(claims) == 0 {
		t.Fatal(claims, err)
	}
	for _, c := range claims {
		if _, err := s.Settle(ctx, c, dispatch.Outcome{State: dispatch.Delivered, Attempt: dispatch.Attempt{Status: 204}}); err != nil {
			t.Fatal(err)
		}
	}
}

// answers is what a store says of everything, by what was asked. What is damaged is answered with
// that.
func answers(t *testing.T, s *Store) map[string]string {
	all := make(map[string]string)
	note := func(what string, err error, answer ...any) {
		if _, ok := errors.AsType[*lifecycle.DamageError](err); ok {
			all[what] = damagedAnswer
			return
		}
		all[what] = fmt.Sprint(append(answer, err)...)
	}
	for i := range 41 { // the last one is not there
		id := fmt.Sprintf("r%02d", i)
		r, err := s.Get(t.Context(), lifecycle.Named(id))
		value := ""
		if r.Result != nil {
			value = string(r.Result.Value)
		}
		note("get "+id, err, fmt.Sprintf("%s %s %s %d %s %s", r.Owner, r.Topic, r.Status, r.Sequence, r.UpdatedAt, value))
		for _, p := range []lifecycle.Part{lifecycle.Input, lifecycle.Output} {
			c, err := s.Content(t.Context(), lifecycle.Named(id), p)
			note(fmt.Sprintf("content %s %d", id, p), err, c.Type, string(c.Data))
		}
	}
	channels := []string{"owner:alice", "owner:bob"}
	for i := range 40 {
		channels = append(channels, fmt.Sprintf("request:r%02d", i))
	}
	for _, owner := range []string{"alice", "bob"} {
		for _, topic := range []string{"cats", "dogs"} {
			channels = append(channels, lifecycle.Channel{Kind: lifecycle.TopicChannel, Owner: owner, Name: topic}.Key())
		}
		page, err := s.List(t.Context(), lifecycle.Query{Owner: owner, Limit: 100})
		var ids []string
		for _, r := range page.Requests {
			ids = append(ids, r.ID)
		}
		note("list "+owner, err, ids)
	}
	for _, channel := range channels {
		h, err := s.Read(t.Context(), channel, 0, 1000)
		note("top of "+channel, err, h.Top)
		for _, m := range h.Messages {
			text := text(m.Event)
			if strings.Contains(text, "request.reset") || strings.Contains(text, "feed.reset") {
				text = damagedAnswer
			}
			all[fmt.Sprintf("%s %d", channel, m.Offset)] = text
		}
	}
	for _, id := range []string{"one", "two"} {
		e, h, err := s.Endpoint(t.Context(), "alice", id)
		note("endpoint "+id, err, fmt.Sprint(e.URL, e.Secrets, h.Waiting+h.Sending))
		page, err := s.ListDeliveries(t.Context(), "alice", id, dispatch.Query{Limit: 1000})
		note("deliveries "+id, err, page.Deliveries)
		for _, d := range page.Deliveries {
			d, err := s.Delivery(t.Context(), "alice", id, d.ID)
			note("delivery "+id+" "+d.ID, err, fmt.Sprint(d.State, d.Attempts, text(d.Event), d.Log))
		}
	}
	streamAnswers(t, s, note)
	kept, err := s.PutIfAbsent(t.Context(), "tickets", []byte("another"))
	note("kept", err, string(kept))
	for i := 0; i < 40; i += 4 {
		id := fmt.Sprintf("r%02d", i)
		again := request(id)
		again.Owner = []string{"alice", "bob"}[i%2]
		again.Key, again.Fingerprint = "key-"+id, "f"+id
		c, err := s.Create(t.Context(), again)
		note("key of "+id, err, c.Existed)
	}
	return all
}

const damagedAnswer = "damaged"

// ways to damage something at a place.
var ways = []struct {
	name string
	do   func(content []byte, at int, random *rand.Rand) []byte
}{
	{"a bit is flipped", func(c []byte, at int, random *rand.Rand) []byte { c[at] ^= 1 << random.IntN(8); return c }},
	{"a byte is another", func(c []byte, at int, random *rand.Rand) []byte { c[at] += 1 + byte(random.IntN(255)); return c }},
	{"it is cut", func(c []byte, at int, _ *rand.Rand) []byte { return c[:at] }},
	{"a sector is zeroed", func(c []byte, at int, _ *rand.Rand) []byte { clear(sector(c, at, 512)); return c }},
	{"a page is zeroed", func(c []byte, at int, _ *rand.Rand) []byte { clear(sector(c, at, pageSize)); return c }},
	{"all behind is zeroed", func(c []byte, at int, _ *rand.Rand) []byte { clear(c[at:]); return c }},
	{"sectors are swapped", func(c []byte, at int, random *rand.Rand) []byte { return swap(c, at, 512, random) }},
	{"pages are swapped", func(c []byte, at int, random *rand.Rand) []byte { return swap(c, at, pageSize, random) }},
}

func sector(c []byte, at, size int) []byte {
	from := at / size * size
	return c[from:min(from+size, len(c))]
}

func swap(c []byte, at, size int, random *rand.Rand) []byte {
	a, b := sector(c, at, size), sector(c, random.IntN(len(c)), size)
	if len(a) == len(b) {
		was := bytes.Clone(a)
		copy(a, b)
		copy(b, was)
	}
	return c
}

// TestDamages: wherever the file or the log is damaged, and however, each answer is the right one,
// or says that it is damaged, or the store does not open and says so. HARK_TEST_DAMAGES is how many
// places of each file are damaged in each way; the table is printed with -v.
func TestDamages(t *testing.T) {
	places := 6
	if n, err := strconv.Atoi(os.Getenv(damageEnv)); err == nil {
		places = n
	}
	path := filepath.Join(t.TempDir(), "hark.db")
	start := time.Now()
	// Time stands still: what is answered must not depend on how long all this takes.
	options := Options{
		NoSync: true, CheckpointAfter: time.Hour, Now: func() time.Time { return start },
	}
	made, err := Open(path, options)
	if err != nil {
		t.Fatal(err)
	}
	furnish(t, made)
	for i := range 3 { // so that pages are used again, and old versions of others stand around
		if err := made.emptyLog(); err != nil {
			t.Fatal(err)
		}
		lives(t, made, 100+i, 101+i, func() {})
	}
	lives(t, made, 111, 140, func() {}) // which only the log has
	killed := crash(t, path)
	if err := made.Close(); err != nil {
		t.Fatal(err)
	}
	compacted := filepath.Join(t.TempDir(), "hark.db")
	if content, err := os.ReadFile(path); err != nil || os.WriteFile(compacted, content, 0o600) != nil {
		t.Fatal("no copy", err)
	}
	if _, _, err := Compact(compacted, nil); err != nil {
		t.Fatal(err)
	}
	random := rand.New(rand.NewPCG(5, 6))
	table := new(strings.Builder)
	fmt.Fprintf(table, "\n%-28s %-22s %7s %9s %9s %9s\n", "damaged", "how", "places", "refused", "damaged", "as it was")
	for _, state := range []struct {
		name, path, file string
		within           int // how much of the file is damaged, from its beginning; 0: all of it
	}{
		{"the file, closed", path, "", 0},
		{"the file, killed", killed, "", 0},
		{"the file, compacted", compacted, "", 0},
		{"its first pages, closed", path, "", 2 * pageSize},
		{"its first pages, killed", killed, "", 2 * pageSize},
		{"its first pages, compacted", compacted, "", 2 * pageSize},
		{"the log", killed, "-wal", 0},
	} {
		whole := map[string][]byte{}
		for _, suffix := range []string{"", "-wal"} {
			if content, err := os.ReadFile(state.path + suffix); err == nil {
				whole[suffix] = content
			}
		}
		at := filepath.Join(t.TempDir(), "hark.db")
		lay := func(file []byte) {
			t.Helper()
			_ = os.Remove(walPath(at))
			for suffix, content := range whole {
				if suffix == state.file {
					content = file
				}
				if err := os.WriteFile(at+suffix, content, 0o600); err != nil {
					t.Fatal(err)
				}
			}
		}
		lay(whole[state.file])
		s, err := Open(at, options)
		if err != nil {
			t.Fatal(err)
		}
		want := answers(t, s)
		if slices.Contains(slices.Collect(maps.Values(want)), damagedAnswer) {
			t.Fatal("damaged from the beginning")
		}
		if err := s.Close(); err != nil {
			t.Fatal(err)
		}
		for _, way := range ways {
			refused, told, same := 0, 0, 0
			for n := range places {
				content := whole[state.file]
				used := len(bytes.TrimRight(content, "\x00")) // a log is laid out ahead
				if state.within > 0 {
					used = state.within
				}
				place := placeIn(content[:used], n, random)
				if way.name == "all behind is zeroed" || way.name == "it is cut" {
					place = used * (n + 1) / (places + 1)
				}
				lay(way.do(bytes.Clone(content), place, random))
				s, err := Open(at, options)
				if err != nil {
					if text := err.Error(); !strings.Contains(text, "othing was changed") || strings.Contains(text, "runtime error") {
						t.Errorf("%s, %s at %d: %v", state.name, way.name, place, err)
					}
					refused++
					continue
				}
				got, damages := answers(t, s), 0
				for what, answer := range want {
					if got[what] == damagedAnswer || covered(got, what) {
						damages++
					} else if got[what] != answer {
						t.Errorf("%s, %s at %d: %s is %.200q, was %.200q", state.name, way.name, place, what, got[what], answer)
					}
				}
				_ = s.Close()
				if damages > 0 {
					told++
				} else {
					same++
				}
			}
			fmt.Fprintf(table, "%-28s %-22s %7d %9d %9d %9d\n", state.name, way.name, places, refused, told, same)
		}
	}
	t.Log(table)
}

// covered reports whether an answer is not there because the one that leads to it is damaged.
func covered(got map[string]string, what string) bool {
	if _, ok := got[what]; ok {
		return false
	}
	if rest, ok := strings.CutPrefix(what, "request:"); ok {
		id, _, _ := strings.Cut(rest, " ")
		return got["top of request:"+id] == damagedAnswer
	}
	if rest, ok := strings.CutPrefix(what, "delivery "); ok {
		endpoint, _, _ := strings.Cut(rest, " ")
		return got["deliveries "+endpoint] == damagedAnswer
	}
	return false
}

// placeIn is a place that has something, mostly: much of a file is free.
func placeIn(content []byte, n int, random *rand.Rand) int {
	place := random.IntN(len(content))
	for range 20 {
		if content[place] != 0 || n%4 == 0 {
			break
		}
		place = random.IntN(len(content))
	}
	return place
}

// TestDamagedBody: a flipped byte of a result is told with the request, counted, and concerns
// nobody else; so is one of a record.
func TestDamagedBody(t *testing.T) {
	path := filepath.Join(t.TempDir(), "hark.db")
	s, err := Open(path, Options{NoSync: true})
	if err != nil {
		t.Fatal(err)
	}
	for _, id := range []string{"a", "b", "c"} {
		sub := request(id)
		sub.Content.Data = []byte("content of " + id)
		if _, err := s.Create(t.Context(), sub); err != nil {
			t.Fatal(err)
		}
		for _, c := range []lifecycle.Change{lifecycle.Start{}, lifecycle.Succeed{Result: &lifecycle.Content{Data: []byte("result of " + id)}}} {
			if _, err := s.Apply(t.Context(), lifecycle.Named(id), c); err != nil {
				t.Fatal(err)
			}
		}
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	db, err := bolt.Open(path, 0o600, nil)
	if err != nil {
		t.Fatal(err)
	}
	flip := func(tx *bolt.Tx, bucket, key []byte) error {
		value := bytes.Clone(tx.Bucket(bucket).Get(key))
		value[len(value)-1] ^= 1
		return tx.Bucket(bucket).Put(key, value)
	}
	if err := errors.Join(db.Update(func(tx *bolt.Tx) error {
		return errors.Join(flip(tx, piecesBucket, pieceKey(nil, "b", lifecycle.Output, 0)), flip(tx, requestsBucket, []byte("c")))
	}), db.Close()); err != nil {
		t.Fatal(err)
	}
	damages := codec.NewDamages(discard)
	s, err = Open(path, Options{NoSync: true, Damages: damages})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	before := damages.Count()
	for _, ask := range []struct {
		id   string
		what string
		do   func(id string) error
	}{
		{"b", "the result", func(id string) error {
			_, err := s.Content(t.Context(), lifecycle.Named(id), lifecycle.Output)
			return err
		}},
		{"c", "the record", func(id string) error { _, err := s.Get(t.Context(), lifecycle.Named(id)); return err }},
	} {
		err := ask.do(ask.id)
		if d, ok := errors.AsType[*lifecycle.DamageError](err); !ok || d.ID != ask.id || d.What != ask.what {
			t.Errorf("%s of %s: %v", ask.what, ask.id, err)
		}
		if err := ask.do("a"); err != nil {
			t.Error(err)
		}
	}
	if n := damages.Count() - before; n != 2 {
		t.Errorf("%d damages are counted", n)
	}
	if c, err := s.Content(t.Context(), lifecycle.Named("b"), lifecycle.Input); err != nil || string(c.Data) != "content of b" {
		t.Errorf("%q, %v", c.Data, err)
	}
	var found []string
	if _, err := s.Sweep(t.Context(), 10); err != nil {
		t.Errorf("sweep: %v", err)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	if _, err := Check(path, func(err error) { found = append(found, err.Error()) }); err != nil {
		t.Error(err)
	}
	if text := strings.Join(found, "\n"); !strings.Contains(text, "request b: the result") || !strings.Contains(text, "request c: the record") {
		t.Errorf("a check says %s", text)
	}
}

// TestDamagedFirstPages: whichever byte of one of the first two pages is damaged, of a file that
// was closed, killed or compacted, nothing is lost: it is told by the start and by a check, and the
// page is written anew.
func TestDamagedFirstPages(t *testing.T) {
	path := filepath.Join(t.TempDir(), "hark.db")
	made := openLogged(t, path)
	lives(t, made, 0, 10, func() {})
	if err := made.emptyLog(); err != nil {
		t.Fatal(err)
	}
	lives(t, made, 10, 12, func() {}) // which only the log has
	killed := crash(t, path)
	want := dump(t, made)
	if err := made.Close(); err != nil {
		t.Fatal(err)
	}
	states := map[string]map[string][]byte{"killed": readStore(t, killed), "closed": readStore(t, path)}
	if _, _, err := Compact(path, nil); err != nil {
		t.Fatal(err)
	}
	states["compacted"] = readStore(t, path)
	for name, state := range states {
		at := filepath.Join(t.TempDir(), "hark.db")
		for page, says := range []error{errFirstPage, errSecondPage} {
			places := []int{pageHeader + metaSize, pageSize / 2, pageSize - 1} // which say nothing
			for place := range pageHeader + metaSize {
				places = append(places, place)
			}
			for _, place := range places {
				content := bytes.Clone(state[""])
				content[page*pageSize+place] ^= 1 << (place % 8)
				layStore(t, at, map[string][]byte{"": content, "-wal": state["-wal"]})
				var told []error
				if _, err := Check(at, func(err error) { told = append(told, err) }); err != nil || len(told) != 1 || !errors.Is(told[0], says) {
					t.Errorf("%s, page %d at %d: a check says %v, %v", name, page, place, told, err)
				}
				damages := codec.NewDamages(discard)
				s, err := Open(at, Options{NoSync: true, CheckpointAfter: time.Hour, Damages: damages})
				if err != nil {
					t.Errorf("%s, page %d at %d: %v", name, page, place, err)
					continue
				}
				if n := damages.Count(); n != 1 {
					t.Errorf("%s, page %d at %d: %d damages are counted", name, page, place, n)
				}
				if got := dump(t, s); !maps.Equal(got, want) {
					t.Errorf("%s, page %d at %d: %d entries, there were %d", name, page, place, len(got), len(want))
				}
				if first, err := readFirstPages(at); err != nil || first.whole() != nil {
					t.Errorf("%s, page %d at %d: still %v, %v", name, page, place, first.whole(), err)
				}
				if err := s.Close(); err != nil {
					t.Fatal(err)
				}
			}
		}
	}
}

// TestLostState: a file whose newest state only one of the first pages knew, as versions before
// this one left them, is refused with that by everything when that page is damaged, and nothing is
// lost when the other one is.
func TestLostState(t *testing.T) {
	path := filepath.Join(t.TempDir(), "hark.db")
	s := openLogged(t, path)
	lives(t, s, 0, 4, func() {})
	if err := s.emptyLog(); err != nil {
		t.Fatal(err)
	}
	lives(t, s, 4, 6, func() {})
	older := crash(t, path)
	if err := s.emptyLog(); err != nil {
		t.Fatal(err)
	}
	lives(t, s, 6, 8, func() {})
	running := readStore(t, crash(t, path))
	want := dump(t, s)
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	closed := readStore(t, path)
	before := readStore(t, older)
	for name, state := range map[string]map[string][]byte{"closed": closed, "killed": running} {
		// Where the two pages say the same, the one that was written last says what it did before.
		page := 0
		first, err := (&pages{file: bytes.NewReader(state[""])}).firstPages()
		if err != nil {
			t.Fatal(err)
		}
		if first.newest.txid%2 == 1 {
			page = 1
		}
		was := running
		if name == "killed" {
			was = before
		}
		content := bytes.Clone(state[""])
		copy(content[page*pageSize:][:pageSize], was[""][page*pageSize:])
		at := filepath.Join(t.TempDir(), "hark.db")
		for damaged, says := range []error{errFirstPage, errSecondPage} {
			file := bytes.Clone(content)
			copy(file[damaged*pageSize+64:], "DAMAGED!")
			layStore(t, at, map[string][]byte{"": file, "-wal": state["-wal"]})
			if damaged == page {
				s := openLogged(t, at)
				if got := dump(t, s); !maps.Equal(got, want) {
					t.Errorf("%s: %d entries, there were %d", name, len(got), len(want))
				}
				if err := s.Close(); err != nil {
					t.Fatal(err)
				}
				continue
			}
			_, opened := Open(at, Options{NoSync: true})
			_, checked := Check(at, func(err error) { t.Errorf("%s: a check says %v", name, err) })
			_, discarded := DiscardLog(at)
			_, _, compacted := Compact(at, nil)
			for what, err := range map[string]error{"start": opened, "check": checked, "discard": discarded, "compact": compacted} {
				if !errors.Is(err, says) || !strings.Contains(err.Error(), "would be missing. Nothing was changed") {
					t.Errorf("%s: %s says %v", name, what, err)
				}
			}
			var told []error
			if _, err := Salvage(at, new(strings.Builder), wire.JSON, func(err error) { told = append(told, err) }); err != nil ||
				!errors.Is(errors.Join(told...), says) || !strings.Contains(told[0].Error(), "may be missing") {
				t.Errorf("%s: a salvage says %v, %v", name, told, err)
			}
			if left := readStore(t, at); !bytes.Equal(left[""], file) || !bytes.Equal(left["-wal"], state["-wal"]) {
				t.Errorf("%s: something was changed", name)
			}
		}
	}
}

// readStore returns what the files of a store hold, by what is behind its name.
func readStore(t *testing.T, path string) map[string][]byte {
	t.Helper()
	files := make(map[string][]byte)
	for _, suffix := range []string{"", "-wal"} {
		content, err := os.ReadFile(path + suffix)
		if err == nil {
			files[suffix] = content
		} else if !errors.Is(err, os.ErrNotExist) {
			t.Fatal(err)
		}
	}
	return files
}

// layStore puts the files of a store at a path.
func layStore(t *testing.T, path string, files map[string][]byte) {
	t.Helper()
	for _, suffix := range []string{"", "-wal"} {
		var err error
		if content := files[suffix]; content != nil {
			err = os.WriteFile(path+suffix, content, 0o600)
		} else if err = os.Remove(path + suffix); errors.Is(err, os.ErrNotExist) {
			err = nil
		}
		if err != nil {
			t.Fatal(err)
		}
	}
}

// TestDeleteDamaged: requests whose records are damaged can be deleted in whatever state they are,
// nothing of them is left that a check or a start would find, and nobody else is concerned.
func TestDeleteDamaged(t *testing.T) {
	path := filepath.Join(t.TempDir(), "hark.db")
	s, err := Open(path, Options{NoSync: true})
	if err != nil {
		t.Fatal(err)
	}
	furnish(t, s)
	ids := []string{"r00", "r01", "r02", "r03", "r04", "r16"}
	for _, id := range []string{"r33", "r34"} { // an id that was somebody else's before
		if err := s.Delete(t.Context(), lifecycle.Named(id)); err != nil {
			t.Fatal(err)
		}
		sub := request(id)
		sub.Life, sub.Owner, sub.Topic = lifecycle.NewLife(), "alice", "cats"
		if _, err := s.Create(t.Context(), sub); err != nil {
			t.Fatal(err)
		}
		ids = append(ids, id)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	db, err := bolt.Open(path, 0o600, nil)
	if err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(db.Update(func(tx *bolt.Tx) error {
		for _, id := range ids {
			value := bytes.Clone(tx.Bucket(requestsBucket).Get([]byte(id)))
			value[len(value)-1] ^= 1
			if err := tx.Bucket(requestsBucket).Put([]byte(id), value); err != nil {
				return err
			}
		}
		return nil
	}), db.Close()); err != nil {
		t.Fatal(err)
	}
	s, err = Open(path, Options{NoSync: true, Damages: codec.NewDamages(discard)})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	before := s.unfinished
	for _, id := range ids {
		if _, ok := errors.AsType[*lifecycle.DamageError](s.Delete(t.Context(), lifecycle.Named(id))); !ok {
			t.Errorf("%s is deleted, damaged as it is", id)
		}
		if r, err := s.DeleteDamaged(t.Context(), id); err != nil || r.ID != id || r.Owner == "" {
			t.Errorf("%s: %+v, %v", id, r, err)
		}
		if _, err := s.DeleteDamaged(t.Context(), id); !errors.Is(err, lifecycle.ErrNotFound) {
			t.Errorf("%s again: %v", id, err)
		}
	}
	if _, err := s.DeleteDamaged(t.Context(), "r05"); !errors.Is(err, lifecycle.ErrNotFound) {
		t.Errorf("one that is whole: %v", err)
	}
	if n := before - s.unfinished; n != 6 { // r03 and r04 have ended
		t.Errorf("%d are not unfinished any more", n)
	}
	again := request("r00")
	again.Owner, again.Key, again.KeyLock, again.Fingerprint = "alice", "key-r00", time.Minute, "another"
	if c, err := s.Create(t.Context(), again); err != nil || c.Existed {
		t.Errorf("its id and its key again: %+v, %v", c, err)
	}
	page, err := s.List(t.Context(), lifecycle.Query{Owner: "bob", Limit: 100})
	if err != nil || len(page.Requests) != 17 { // of 20 that are bob's
		t.Errorf("bob has %d, %v", len(page.Requests), err)
	}
	for _, owner := range []string{"alice", "bob"} {
		var want lifecycle.Usage
		for r, err := range s.Unfinished(t.Context()) {
			if err == nil && r.Owner == owner {
				want.Open++
			}
		}
		if err := s.write(t.Context(), func(b *batch) error {
			if got := b.usage(owner); got.Open != want.Open {
				t.Errorf("%s takes %d, want %d", owner, got.Open, want.Open)
			}
			return nil
		}); err != nil {
			t.Error(err)
		}
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	if _, err := Check(path, func(err error) { t.Errorf("a check says %v", err) }); err != nil {
		t.Error(err)
	}
	if s, err = Open(path, Options{NoSync: true}); err != nil {
		t.Fatal(err)
	}
	if err := s.Close(); err != nil {
		t.Error(err)
	}
}

// TestPanics: a panic that comes up in bbolt is told as damage of the file, and one that comes up
// in what runs on it as a fault of the program, also where bbolt has called it.
func TestPanics(t *testing.T) {
	s, err := Open(filepath.Join(t.TempDir(), "hark.db"), Options{NoSync: true})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	furnish(t, s)
	var none []byte
	for _, c := range []struct {
		name   string
		do     func(tx *bolt.Tx)
		damage bool
	}{
		{"an assertion of bbolt", func(*bolt.Tx) {
			other, err := s.journal.db.Begin(false)
			if err != nil {
				t.Error(err)
				return
			}
			cursor := other.Bucket(requestsBucket).Cursor()
			_ = other.Rollback()
			cursor.First()
		}, true},
		{"a nil pointer in bbolt", func(tx *bolt.Tx) { tx.Bucket([]byte("none")).Get(none) }, true},
		{"an index out of range", func(*bolt.Tx) { none[len(none)] = 0 }, false},
		{"one that the standard library looks at", func(*bolt.Tx) { binary.BigEndian.Uint64(none) }, false},
		{"one in what bbolt calls", func(tx *bolt.Tx) {
			_ = tx.Bucket(requestsBucket).ForEach(func(_, _ []byte) error { none[len(none)] = 0; return nil })
		}, false},
		{"words of our own", func(*bolt.Tx) { panic("ours") }, false},
	} {
		err := s.view(t.Context(), func(tx *bolt.Tx) error { c.do(tx); return nil })
		want := errFault
		if c.damage {
			want = errPage
		}
		if !errors.Is(err, want) {
			t.Errorf("%s: %v, want %v", c.name, err, want)
		}
	}
	if _, err := s.Get(t.Context(), lifecycle.Named("r00")); err != nil {
		t.Errorf("afterwards: %v", err)
	}
}
