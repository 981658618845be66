# Varnish (7.1 or newer) in front of the gateways, instead of nginx. It has no TLS of its own.
#
#   varnishd -F -a :8080 -f /etc/varnish/varnish.vcl -p pipe_timeout=120
#
# Streams and WebSockets are piped: their bytes are passed on as they come, and either side learns at once that the
# other one has left. pipe_timeout, 60 s without being set, bounds their silence: several --heartbeat (25s).
vcl 4.1;

import directors;
import std;

# Varnish has to know beforehand whether a gateway answers: a stream that is piped to one that does not is cut
# without a status.
probe ready {
    .url = "/health/ready";
    .interval = 500ms;
    .timeout = 4s;
    .window = 1;
    .threshold = 1;
    .initial = 0;
}

backend gateway_1 {
    .host = "gateway-1";
    .port = "8080";
    .probe = ready;
    .connect_timeout = 2s;
    .first_byte_timeout = 75s; # calls may wait for the end of their request: longer than --max-wait (30s)
    .between_bytes_timeout = 75s;
}

backend gateway_2 {
    .host = "gateway-2";
    .port = "8080";
    .probe = ready;
    .connect_timeout = 2s;
    .first_byte_timeout = 75s;
    .between_bytes_timeout = 75s;
}

sub vcl_init {
    new gateways = directors.round_robin();
    gateways.add_backend(gateway_1);
    gateways.add_backend(gateway_2);
}

sub vcl_recv {
    set req.backend_hint = gateways.backend();

    # Each gateway has its own; ask it directly.
    if (req.url ~ "^/metrics(\?|$)") {
        return (synth(404));
    }

    # The limit of the gateways, --max-body, as far as a head announces it. A gateway refuses the others.
    if (std.integer(req.http.Content-Length, 0) > 33554432) {
        return (synth(413));
    }

    if (!std.healthy(req.backend_hint)) {
        return (synth(503));
    }

    if (req.method == "GET" && (req.url ~ "^/v1/ws(\?|$)" || req.http.Accept ~ "text/event-stream")) {
        return (pipe);
    }

    # Nothing is cached, and nobody waits for the answer of somebody else: for a cache, all who ask for a document
    # wait while the first one's long poll does.
    return (pass);
}

sub vcl_pipe {
    # What follows on a connection is not looked at any more, so nothing may follow on one that is not upgraded: a gateway
    # closes it after a handshake that it refuses.
    if (req.http.Upgrade) {
        set bereq.http.Upgrade = req.http.Upgrade;
        set bereq.http.Connection = "Upgrade";
    } else {
        set bereq.http.Connection = "close";
    }
}

# An EventSource gives up for good on any status but 200, so it is told to come back instead.
sub vcl_synth {
    set resp.http.Cache-Control = "no-store";
    set resp.http.Content-Type = "application/problem+json";
    if (resp.status == 404) {
        set resp.body = """{"type":"/problems/not-found","title":"Not found","status":404,"detail":"There is nothing here."}""";
    } else if (resp.status == 413) {
        set resp.body = """{"type":"/problems/content-too-large","title":"Content too large","status":413,"detail":"The body is larger than this gateway takes."}""";
    } else if (req.http.Accept ~ "text/event-stream") {
        set resp.status = 200;
        set resp.reason = "OK";
        set resp.http.Content-Type = "text/event-stream";
        set resp.body = """event: unavailable
data: {"retry":3000}
retry: 3000

""";
    } else {
        set resp.http.Retry-After = "2";
        set resp.body = """{"type":"/problems/unavailable","title":"Temporarily unavailable","status":503,"detail":"No gateway answers at the moment."}""";
    }
    return (deliver);
}

# A gateway has gone away while it was asked, and the probe has not noticed yet.
sub vcl_backend_error {
    set beresp.http.Cache-Control = "no-store";
    set beresp.http.Content-Type = "application/problem+json";
    set beresp.http.Retry-After = "2";
    set beresp.body = """{"type":"/problems/unavailable","title":"Temporarily unavailable","status":503,"detail":"No gateway answers at the moment."}""";
    return (deliver);
}
