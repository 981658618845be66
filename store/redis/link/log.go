package link

import (
	"context"
	"fmt"
	"log/slog"

	goredis "github.com/redis/go-redis/v9"
)

// LogTo has what go-redis itself logs, which is about its connections, in a log. There is one for
// the process.
func LogTo(log *slog.Logger) { goredis.SetLogger(printer{log}) }

type printer struct{ log *slog.Logger }

func (p printer) Printf(ctx context.Context, format string, args ...any) {
	p.log.LogAttrs(ctx, slog.LevelWarn, "the client of Redis says", slog.String("text", fmt.Sprintf(format, args...)))
}
