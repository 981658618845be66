package logs

import (
	"context"
	"io"
	"log/slog"
	"math"
	"regexp"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
)

// Handler is a [slog.Handler] that lets through what its levels let, and says of which package it
// is. Those that With and WithGroup make share the levels. It may be used by many goroutines.
type Handler struct {
	next   slog.Handler
	levels *atomic.Pointer[Levels]
}

// New returns a log that writes lines of JSON, and its handler, by which the levels change.
func New(w io.Writer, l Levels) (*slog.Logger, *Handler) {
	h := &Handler{
		next:   slog.NewJSONHandler(w, &slog.HandlerOptions{Level: slog.Level(math.MinInt), ReplaceAttr: withoutPasswords}),
		levels: new(atomic.Pointer[Levels]),
	}
	h.Set(l)
	return slog.New(h), h
}

// Set has other levels hold from now on.
func (h *Handler) Set(l Levels) { h.levels.Store(&l) }

// Enabled implements [slog.Handler]: whether some package may write lines of a level.
func (h *Handler) Enabled(_ context.Context, level slog.Level) bool {
	return level >= h.levels.Load().least()
}

// Handle implements [slog.Handler].
func (h *Handler) Handle(ctx context.Context, r slog.Record) error {
	pkg := packageOf(r.PC)
	if r.Level < h.levels.Load().Of(pkg) {
		return nil
	}
	if pkg != "" {
		r = r.Clone() // its attributes may be shared
		r.AddAttrs(slog.String("package", pkg))
	}
	return h.next.Handle(ctx, r)
}

// WithAttrs implements [slog.Handler].
func (h *Handler) WithAttrs(attrs []slog.Attr) slog.Handler {
	return &Handler{h.next.WithAttrs(attrs), h.levels}
}

// WithGroup implements [slog.Handler].
func (h *Handler) WithGroup(name string) slog.Handler {
	return &Handler{h.next.WithGroup(name), h.levels}
}

const module = "github.com/hark-push/hark/"

// packages are those of the places in the program from which lines came. There are as many as the
// program has such places.
var packages sync.Map

// packageOf returns the path in the module of the package that a place in the program is in; "" if
// that is not known, or not one of ours. The main package of a program has that of its folder.
func packageOf(pc uintptr) string {
	if known, ok := packages.Load(pc); ok {
		return known.(string) //nolint:forcetypeassert // nothing else is in it
	}
	frame, _ := runtime.CallersFrames([]uintptr{pc}).Next()
	pkg := packageAt(frame.Function, frame.File)
	packages.Store(pc, pkg)
	return pkg
}

// packageAt is packageOf for a function and the file that it is in.
func packageAt(function, file string) string {
	if strings.HasPrefix(function, "main.") {
		if strings.HasSuffix(file[:max(strings.LastIndexByte(file, '/'), 0)], "/gateway") {
			return "gateway"
		}
		return ""
	}
	path, ours := strings.CutPrefix(function, module)
	if !ours {
		return ""
	}
	folders, last := "", path
	if cut := strings.LastIndexByte(path, '/'); cut >= 0 {
		folders, last = path[:cut+1], path[cut+1:]
	}
	name, _, _ := strings.Cut(last, ".")
	return folders + name
}

// password is what stands in front of the host of a URL.
var password = regexp.MustCompile(`://[^\s/?#"]*@`)

// withoutPasswords is a [slog.HandlerOptions.ReplaceAttr]: what servers and libraries say of a
// connection may have its URL in it, and that a password.
func withoutPasswords(_ []string, a slog.Attr) slog.Attr {
	switch a.Value.Kind() {
	case slog.KindString:
		if text := a.Value.String(); strings.Contains(text, "://") {
			a.Value = slog.StringValue(password.ReplaceAllString(text, "://***@"))
		}
	case slog.KindAny:
		if err, ok := a.Value.Any().(error); ok {
			a.Value = slog.StringValue(password.ReplaceAllString(err.Error(), "://***@"))
		}
	default:
	}
	return a
}
