package samples

import (
	"context"
	"errors"
	"hash/crc32"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/goleak"

	"github.com/hark-push/hark/lifecycle"
	"github.com/hark-push/hark/processor"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func crcPNG(b []byte) uint32 { return crc32.ChecksumIEEE(b) }

func TestHandlersCoverTheRoutes(t *testing.T) {
	handlers, err := Handlers(Options{})
	if err != nil {
		t.Fatal(err)
	}
	for _, route := range []string{"echo", "images", "fetch", "sleep"} {
		if handlers[route] == nil {
			t.Errorf("no handler for %s", route)
		}
	}
	var _ processor.Routes = handlers
}

func TestEcho(t *testing.T) {
	for _, c := range []lifecycle.Content{{}, {Type: "text/plain"}, {Type: "image/x", Data: []byte{0, 1, 255}}, {Type: "application/json", Data: []byte("{ }")}} {
		result, _, err := do(t.Context(), processor.HandlerFunc(Echo), c, "a=b")
		if err != nil || string(result.Data) != string(c.Data) || len(c.Data) > 0 && result.Type != c.Type {
			t.Errorf("%+v became %+v, %v", c, result, err)
		}
	}
}

func TestSleep(t *testing.T) {
	tests := map[string]struct {
		content string
		took    time.Duration
		steps   int
		result  string
		code    string
	}{
		"defaults":         {``, 5 * time.Second, 5, `{"slept":"5s","steps":5}`, ""},
		"empty":            {`{}`, 5 * time.Second, 5, `{"slept":"5s","steps":5}`, ""},
		"all":              {`{"steps":3,"duration":"1m","result":{"a": [1]}}`, 3 * time.Minute, 3, `{"a": [1]}`, ""},
		"null as result":   {`{"steps":1,"result":null}`, time.Second, 1, `null`, ""},
		"seconds":          {`{"steps":2,"duration":0.25}`, 500 * time.Millisecond, 2, `{"slept":"500ms","steps":2}`, ""},
		"no time":          {`{"duration":0}`, 0, 5, `{"slept":"0s","steps":5}`, ""},
		"longest":          {`{"steps":1000,"duration":"3.6s"}`, time.Hour, 1000, `{"slept":"1h0m0s","steps":1000}`, ""},
		"fail":             {`{"fail":true}`, 5 * time.Second, 5, "", "asked-to-fail"},
		"fail at":          {`{"failAt":2}`, 2 * time.Second, 2, "", "asked-to-fail"},
		"too long":         {`{"steps":1000,"duration":"3.61s"}`, 0, 0, "", "bad-options"},
		"too many":         {`{"steps":1001,"duration":0}`, 0, 0, "", "bad-options"},
		"none":             {`{"steps":0}`, 0, 0, "", "bad-options"},
		"backwards":        {`{"duration":-1}`, 0, 0, "", "bad-options"},
		"backwards, text":  {`{"duration":"-1s"}`, 0, 0, "", "bad-options"},
		"overflow":         {`{"duration":1e300}`, 0, 0, "", "bad-options"},
		"no duration":      {`{"duration":"soon"}`, 0, 0, "", "bad-options"},
		"duration, object": {`{"duration":{}}`, 0, 0, "", "bad-options"},
		"fail too late":    {`{"failAt":6}`, 0, 0, "", "bad-options"},
		"no JSON":          {`steps`, 0, 0, "", "bad-content"},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				begin := time.Now()
				result, steps, err := do(t.Context(), processor.HandlerFunc(Sleep), lifecycle.Content{Type: "application/json", Data: []byte(test.content)}, "")
				if took := time.Since(begin); took != test.took || len(steps) != test.steps {
					t.Errorf("took %v and %d steps, want %v and %d", took, len(steps), test.took, test.steps)
				}
				if test.code != "" {
					if code(err) != test.code {
						t.Errorf("got %v, want %s", err, test.code)
					}
				} else if err != nil || string(result.Data) != test.result {
					t.Errorf("got %s, %v", result.Data, err)
				}
			})
		})
	}
}

func TestSleepWakesUp(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		cause := errors.New("enough")
		ctx, cancel := context.WithCancelCause(t.Context())
		time.AfterFunc(2500*time.Millisecond, func() { cancel(cause) })
		begin := time.Now()
		_, steps, err := do(ctx, processor.HandlerFunc(Sleep), lifecycle.Content{}, "")
		if err != cause || time.Since(begin) != 2500*time.Millisecond || !slices.Equal(steps, []string{"sleeping", "sleeping", "sleeping"}) {
			t.Errorf("%v after %v and %q", err, time.Since(begin), steps)
		}
	})
}

func FuzzSleepOptions(f *testing.F) {
	f.Add(`{"steps":5,"duration":"1s","fail":false,"failAt":1,"result":{}}`)
	f.Add(`{"duration":1.5}`)
	f.Add(`{"duration":"\u0031s"}`)
	f.Fuzz(func(t *testing.T, content string) {
		order, err := parseSleep(processor.NewJob(lifecycle.Request{}, lifecycle.Content{Type: "application/json", Data: []byte(content)}, nil))
		if err != nil {
			if c := code(err); c != "bad-options" && c != "bad-content" {
				t.Errorf("error %v", err)
			}
			return
		}
		total := time.Duration(order.Steps) * time.Duration(order.Duration)
		if order.Steps < 1 || order.Steps > maxSleepSteps || total < 0 || total > maxSleep || order.FailAt > order.Steps {
			t.Errorf("order %+v", order)
		}
	})
}

// TestSamplesRefuseWhatTheyDoNotKnow: content or a query with a field that a sample has not is
// refused, with its name and those that there are.
func TestSamplesRefuseWhatTheyDoNotKnow(t *testing.T) {
	handlers, err := Handlers(Options{})
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		route, content, query string
		says                  []string
	}{
		{"sleep", `{"steps":2,"each":"100ms"}`, "", []string{`"each" (did you mean "duration"?)`, "steps, duration, fail, failAt, result"}},
		{"sleep", `{"Steps":2}`, "", []string{`"Steps" (did you mean "steps"?)`}},
		{"sleep", `{"zzz":1,"durration":"1s","a":1,"b":1,"c":1,"d":1}`, "", []string{`"a", "b", "c", "d", "durration" (did you mean "duration"?), …;`}},
		{"sleep", ``, "steps=2", []string{`"steps"`, "it takes none there"}},
		{"fetch", `{"uri":"https://example.com/"}`, "", []string{`"uri" (did you mean "url"?)`, "it takes url"}},
		{"fetch", `{"url":"https://example.com/","method":"POST"}`, "", []string{`"method"`}},
		{"fetch", ``, "url=https://example.com/&depth=2", []string{`"depth"`}},
		{"images", `{"img":"","sizes":["small"]}`, "", []string{`"img"`, "image, sizes, size, format"}},
		{"images", `{"image":"","Size":"small"}`, "", []string{`"Size" (did you mean "size"?)`}},
		{"images", ``, "width=100", []string{`"width"`, "sizes, size, format"}},
	} {
		content := lifecycle.Content{}
		if c.content != "" {
			content = lifecycle.Content{Type: "application/json", Data: []byte(c.content)}
		}
		_, steps, err := do(t.Context(), handlers[c.route], content, c.query)
		if code(err) != "bad-options" || len(steps) > 0 {
			t.Errorf("%s %s: %v after %v", c.route, c.content, err, steps)
			continue
		}
		for _, part := range c.says {
			if !strings.Contains(err.Error(), part) {
				t.Errorf("%s %s: %q does not say %q", c.route, c.content, err, part)
			}
		}
	}
}
