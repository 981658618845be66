package doctor

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"time"

	"github.com/hark-push/hark/backends"
	"github.com/hark-push/hark/broker/rabbitmq"
	"github.com/hark-push/hark/store/redis"
)

// quiet is the log of what is looked at: what matters of it is found.
var quiet = slog.New(slog.DiscardHandler)

// serverTime bounds what one kind of server may take to answer everything.
const serverTime = 20 * time.Second

// mostSkew is how far apart two clocks may be.
const mostSkew = 2 * time.Second

// redis looks at Redis, if the gateway uses it.
func (d *doctor) redis(ctx context.Context) {
	const about = "redis"
	c := &d.config
	if c.Redis == "" {
		return
	}
	ctx, cancel := context.WithTimeout(ctx, serverTime)
	defer cancel()
	where := "Redis at " + backends.Redact(c.Redis)
	i, err := redis.Inspect(ctx, c.Redis, c.Prefix, time.Now)
	if err != nil {
		d.redisFailed(where, err)
		return
	}
	if !i.Supported() {
		d.find(about, fmt.Sprintf("%s is version %d.%d", where, i.Major, i.Minor), "Hark needs Redis 6.2 or newer, or Valkey", "update the server")
	}
	for _, s := range i.Unfit {
		remedy := fmt.Sprintf("set %s %s in redis.conf, and at once: redis-cli CONFIG SET %s %s", s.Name, s.Want, s.Name, s.Want)
		d.find(about, fmt.Sprintf("%s does not keep what it was given: %s", where, s.Why), fmt.Sprintf("its setting %s is %s", s.Name, s.Value), remedy)
	}
	if i.Cluster != "" && i.Cluster != "ok" {
		d.find(about, "the Cluster of "+where+" does not serve all keys", "its state is "+i.Cluster+": some slots have no master that is alive",
			"bring back the nodes that are gone, or redis-cli --cluster fix; redis-cli --cluster check says which slots it is about")
	}
	if i.Ahead > mostSkew+i.RoundTrip || i.Ahead < -mostSkew-i.RoundTrip {
		d.find(about, fmt.Sprintf("the clocks of %s and of this machine are %v apart", where, i.Ahead.Abs().Round(time.Second)),
			"one of them is not set by a time server", "have both set by NTP (timedatectl set-ntp true, chronyc tracking)")
	}
	if i.Layout > redis.KnownLayout {
		d.find(about, fmt.Sprintf("the store in %s under the prefix %s has layout %d", where, c.Prefix, i.Layout), fmt.Sprintf("a newer version of Hark has written it; this one knows up to %d", redis.KnownLayout),
			"run that version, or another --prefix")
	}
	if i.Partitions > 0 && i.Partitions != c.Partitions {
		d.find(about, fmt.Sprintf("the gateway does not start: the store in %s has %d partitions, not %d", where, i.Partitions, c.Partitions),
			"--partitions (HARK_PARTITIONS) cannot be changed once there is a store", fmt.Sprintf("give --partitions %d, or another --prefix", i.Partitions))
	}
	if i.Most > 0 && i.Used > i.Most/10*9 {
		d.find(about, fmt.Sprintf("the memory of %s is full to %d%%", where, i.Used*100/i.Most), "it holds what is stored, up to maxmemory, and takes nothing more then",
			"raise maxmemory, or keep less: --retention, --history, --feed-history")
	}
}

func (d *doctor) redisFailed(where string, err error) {
	const about, flag = "redis", "--redis (HARK_REDIS)"
	text := err.Error()
	switch {
	case strings.Contains(text, "WRONGPASS"), strings.Contains(text, "invalid password"), strings.Contains(text, "invalid username-password"):
		d.find(about, where+" refuses the password", text, "correct the password in "+flag+", like redis://:PASSWORD@host:6379/0")
	case strings.Contains(text, "NOAUTH"), strings.Contains(text, "without any password configured"):
		d.find(about, where+" wants a password, or none", text, "put the password into "+flag+", like redis://:PASSWORD@host:6379/0, or take it out")
	case strings.Contains(text, "NOPERM"):
		d.find(about, where+" does not let the user do what Hark needs", text, "give it all commands on keys and channels of the prefix: ACL SETUSER name ~"+d.config.Prefix+":* &"+d.config.Prefix+":* +@all")
	case strings.Contains(text, "cluster=true"), strings.HasPrefix(text, "bad "):
		d.find(about, "the URL of Redis is not right", text, "correct "+flag)
	case strings.Contains(text, "LOADING"):
		d.find(about, where+" is reading its data, and answers nothing yet", text, "wait until it is done; the gateway waits, too")
	default:
		d.unreachable(about, flag, where, err)
	}
}

// rabbitmq looks at RabbitMQ, if the gateway uses it.
func (d *doctor) rabbitmq(ctx context.Context) {
	const about, flag = "rabbitmq", "--amqp (HARK_AMQP)"
	c := &d.config
	if c.AMQP == "" {
		return
	}
	ctx, cancel := context.WithTimeout(ctx, serverTime)
	defer cancel()
	servers, err := rabbitmq.Inspect(ctx, strings.Split(c.AMQP, ","), c.Routes, rabbitmq.Options{
		Prefix: c.Prefix, Targets: c.ByRoute(), CallbackExchange: c.CallbackExchange, Name: "hark doctor", Logger: quiet,
	})
	if err != nil {
		d.find(about, "the gateway does not start: "+err.Error(), "what RabbitMQ is to be told cannot be", "correct "+flag+", or --routes")
		return
	}
	for _, s := range servers {
		where := "RabbitMQ at " + s.Addr
		if !s.Supported() {
			d.find(about, where+" is version "+s.Version, "Hark needs RabbitMQ 3.10 or newer: quorum queues whose dead letters arrive at least once", "update the server")
		}
		for _, err := range s.Wrong {
			d.rabbitmqWrong(where, err)
		}
	}
}

func (d *doctor) rabbitmqWrong(where string, err error) {
	const about, flag = "rabbitmq", "--amqp (HARK_AMQP)"
	if e, ok := errors.AsType[*rabbitmq.RefusedError](err); ok {
		d.find(about, fmt.Sprintf("%s refuses the user %q in the virtual host %q", where, e.User, e.VHost), e.Err.Error(),
			fmt.Sprintf("correct user, password or virtual host in %s, or let the user: rabbitmqctl set_permissions -p %s %s '^%s\\..*' '.*' '.*'", flag, e.VHost, e.User, d.config.Prefix))
		return
	}
	if e, ok := errors.AsType[*rabbitmq.MismatchError](err); ok {
		cause := "somebody else has made it, or a gateway with other options"
		if e.Setting != "" {
			cause = fmt.Sprintf("its %s is %s, and Hark's is %s: %s", e.Setting, e.Have, e.Want, cause)
		}
		remedy := fmt.Sprintf("let it run empty and delete it (rabbitmqctl delete_queue %s), or give all gateways and workers another --prefix", e.Name)
		if e.Kind == "exchange" {
			remedy = fmt.Sprintf("choose another name, or delete it (rabbitmqadmin delete exchange name=%s)", e.Name)
		}
		d.find(about, fmt.Sprintf("the gateway does not start: at %s the %s %q exists, and is not Hark's", where, e.Kind, e.Name), cause, remedy)
		return
	}
	if e, ok := errors.AsType[*rabbitmq.MissingError](err); ok {
		d.find(about, fmt.Sprintf("the gateway does not start: at %s the %s %q of the route %q is not there", where, e.Kind, e.Name, e.Route),
			"a route that --route-queue or --route-exchange names is somebody else's, so Hark does not make it", "declare it, or correct the flag")
		return
	}
	d.unreachable(about, flag, where, err)
}
