package backends

import (
	"context"
	"fmt"
	"log/slog"

	goredis "github.com/redis/go-redis/v9"
)

// LogRedis has what go-redis itself logs, which is about its connections, in a log. There is one for
// the process.
func LogRedis(log *slog.Logger) { goredis.SetLogger(redisLog{log}) }

type redisLog struct{ log *slog.Logger }

func (l redisLog) Printf(ctx context.Context, format string, args ...any) {
	l.log.LogAttrs(ctx, slog.LevelWarn, "redis: "+fmt.Sprintf(format, args...))
}
