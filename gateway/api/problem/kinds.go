package problem

// Kind is a problem type: the last part of its URI, which never changes, its
// status and its title. /problems/{name} explains it.
type Kind struct {
	Name    string
	Status  int
	Title   string
	Explain string
}

// The problem types.
var (
	Malformed     = Kind{"malformed-request", 400, "Malformed request", "The target, the body or a header field cannot be read as what it claims to be. Sending the same bytes again will fail again."}
	Unauthorized  = Kind{"unauthenticated", 401, "Not authenticated", "The call does not prove who makes it: by an API key or a JSON Web Token in the field Authorization, as a Bearer token."}
	Forbidden     = Kind{"forbidden", 403, "Not allowed", "The caller has not the role that this call needs, or the token is that of another caller."}
	Origin        = Kind{"origin-not-allowed", 403, "Origin not allowed", "A browser sent this on behalf of a page from another origin, or to a host name that this gateway does not go by. Origins are allowed with --origins."}
	NotFound      = Kind{"not-found", 404, "No such resource", "There is nothing at this path."}
	NoRequest     = Kind{"request-not-found", 404, "No such request", "The id names no request of the caller: it was never accepted, or it was forgotten after its retention."}
	NotReady      = Kind{"result-not-ready", 404, "The result is not ready", "The request has not ended. The member requestStatus says where it stands and position how many came before it."}
	Method        = Kind{"method-not-allowed", 405, "Method not allowed", "The resource does not know this method; the field Allow lists those that it does."}
	NotAcceptable = Kind{"not-acceptable", 406, "Not acceptable", "The resource has none of the media types in the field Accept."}
	Timeout       = Kind{"request-timeout", 408, "Request timeout", "The call did not arrive in time: its head has a minute, and its body may not stand still for as long, nor come more slowly than a kibibyte a second."}
	IDTaken       = Kind{"id-taken", 409, "The id is taken", "Another request has this id. The same id may be sent again only with the same body."}
	KeyInProgress = Kind{"idempotency-key-in-progress", 409, "Still in progress", "The first call with this Idempotency-Key has not been answered yet. Repeat the call later."}
	Transition    = Kind{"invalid-transition", 409, "Not in this status", "The request does not stand where this step is possible. The member requestStatus says where it stands."}
	Superseded    = Kind{"attempt-superseded", 409, "The attempt was superseded", "Another attempt works on the request now; this one must stop. The member attempt is the one that counts."}
	Answered      = Kind{"question-answered", 409, "The question was answered", "A question is answered once, and this one was answered already, by this call made again or by somebody else. Nothing was changed. A processor finds the answer among the answers of its work."}
	Worker        = Kind{"worker-superseded", 409, "The worker was superseded", "Another session of the worker of this name has called for work, so this one is taken for gone and what it had was handed to the queue again. It must stop. Processors that run at the same time need names of their own."}
	NotEnded      = Kind{"not-ended", 409, "The request has not ended", "Only a request that has ended can be forgotten. Cancel it first."}
	Canceled      = Kind{"request-canceled", 409, "The request was canceled", "The request was canceled and has no result."}
	NoWebhook     = Kind{"webhook-not-found", 404, "No such webhook", "The id names no webhook endpoint of the caller, or no delivery to it."}
	WebhookState  = Kind{"webhook-conflict", 409, "Not possible now", "The webhook endpoint or the delivery does not stand where this is possible: it is disabled, has not been proven, is being sent, or was changed meanwhile."}
	Unproven      = Kind{"webhook-not-proven", 409, "The webhook was not proven", "The endpoint did not answer its challenge, so nothing is delivered to it. The detail says what was wrong; verify tries again."}
	Precondition  = Kind{"precondition-failed", 412, "Precondition failed", "The call is conditional, by If-Match or If-Unmodified-Since, on a state that the resource is not in."}
	TooLarge      = Kind{"content-too-large", 413, "Content too large", "The body is larger than this gateway takes, or takes more by itself than is kept for one caller."}
	MediaType     = Kind{"unsupported-media-type", 415, "Unsupported media type", "The body's Content-Type or Content-Encoding is not one that the resource takes."}
	Range         = Kind{"range-not-satisfiable", 416, "Range not satisfiable", "The result has no such range of bytes."}
	Invalid       = Kind{"invalid-request", 422, "Invalid request", "The body can be read, but some of its values are not allowed. The member errors lists each with a pointer to it."}
	KeyReused     = Kind{"idempotency-key-reused", 422, "The idempotency key was reused", "This Idempotency-Key was used before with another body."}
	Upgrade       = Kind{"upgrade-required", 426, "Upgrade required", "This resource speaks WebSocket (RFC 6455) only."}
	Headers       = Kind{"header-fields-too-large", 431, "Header fields too large", "The header of the request is larger than this gateway takes."}
	Failed        = Kind{"request-failed", 500, "The request failed", "The processor could not do the work. The member error says why; the gateway itself is well."}
	Internal      = Kind{"internal", 500, "Internal error", "Something went wrong inside the gateway. It has been logged."}
	Damaged       = Kind{"stored-data-damaged", 500, "Stored data is damaged", "What is stored of the request is not any more what was stored, by its checksum, so it is not handed out. Nothing was changed, and other requests are not concerned. It has been logged; whoever runs the gateway brings back a copy of its store."}
	Unavailable   = Kind{"unavailable", 503, "Temporarily unavailable", "The gateway cannot take or look up requests at the moment. Nothing was changed; repeat the call after Retry-After."}
	RouteFull     = Kind{"route-full", 503, "The route is full", "On the route, which the member of that name says, as many requests wait as may. Nothing was stored. Repeat the call after Retry-After."}
	Expired       = Kind{"request-expired", 504, "The request expired", "The request's time ran out before it was done."}
	Message       = Kind{"malformed-message", 400, "Malformed message", "The WebSocket message is not a JSON object of this protocol."}
	UnknownOp     = Kind{"unknown-op", 400, "Unknown op", "The WebSocket message asks for an operation that the protocol hark.v1 does not have."}
	Channel       = Kind{"channel-not-found", 404, "No such channel", "The name is not that of a channel that the caller may follow."}
	NotSubscribed = Kind{"not-subscribed", 409, "Not subscribed", "The connection has no subscription to this channel."}
	Calls         = Kind{"too-many-calls", 429, "Too many calls at a time", "The caller, or its address, has as many calls under way as it may have. The member violated-policies says which. Repeat the call after Retry-After."}
	Connections   = Kind{"too-many-connections", 429, "Too many connections", "The address has as many connections as it may have. Use them for more than one call each, and close those that are not needed."}
	Open          = Kind{"too-many-open-requests", 429, "Too many open requests", "The caller has as many requests that have not ended as it may have, those of batches included. Nothing was stored. Repeat the call when some have ended; requests that are not needed can be canceled."}
	Stored        = Kind{"storage-quota-exceeded", 429, "Storage quota exceeded", "As many bytes of contents and results are kept for the caller as may be. Nothing was stored. Requests that have ended can be deleted, or submitted with a shorter retention."}
	Waiting       = Kind{"too-many-waiting-requests", 429, "Too many waiting requests", "The caller has as many requests that wait for a processor as it may have, those of batches included. Nothing was stored. Repeat the call after Retry-After; requests that are not needed can be canceled."}
	Webhooks      = Kind{"too-many-webhooks", 429, "Too many webhooks", "The caller has as many webhook endpoints as it may have. Those that are not needed can be deleted."}
	Subscriptions = Kind{"too-many-subscriptions", 429, "Too many subscriptions", "The connection has as many subscriptions as it may have."}
	Bytes         = Kind{"too-many-bytes", 429, "Too many bytes at once", "Calls of one caller, or from one address, have more bytes of bodies under way at the same time than their share of this gateway's memory. Repeat the call after Retry-After."}
	NoStream      = Kind{"stream-not-found", 404, "No such stream", "The path names no stream of the caller: it was never made, it was deleted, or its time has run out."}
	GoneStream    = Kind{"stream-gone", 410, "The stream was deleted", "The stream was deleted. Its bytes are kept for others that were forked from it, and its path is free when these are gone."}
	StreamTaken   = Kind{"stream-conflict", 409, "There is another stream", "A stream with this path is there and is not as the call wants it, or what is to be forked is deleted or of another media type."}
	StreamType    = Kind{"stream-media-type", 409, "Another media type", "What is appended is of another media type than the stream."}
	StreamSeq     = Kind{"stream-sequence", 409, "The sequence was used", "The Stream-Seq of an append has to lie behind that of the append before it, byte by byte."}
	StreamClosed  = Kind{"stream-closed", 409, "The stream is closed", "Nothing can be appended to a stream that is closed. Stream-Next-Offset says where it ends."}
	ProducerStale = Kind{"producer-stale", 403, "The producer's epoch has ended", "Another run of this producer has appended with a higher epoch, which Producer-Epoch says. This one is to stop."}
	ProducerGap   = Kind{"producer-gap", 409, "Appends are missing", "The producer's sequence number does not follow on the last one. Producer-Expected-Seq says which does."}
	NoTokens      = Kind{"tokens-not-used", 400, "No tokens", "This gateway runs without keys and takes no tokens."}
)

// All are all problem types, for their pages.
var All = []Kind{
	Malformed, Unauthorized, Forbidden, Origin, NotFound, NoRequest, NotReady, Method,
	NotAcceptable, IDTaken, KeyInProgress, Transition, Superseded, Answered, Worker, NotEnded, Canceled,
	NoWebhook, WebhookState, Unproven,
	Timeout, Precondition, TooLarge, MediaType, Range, Invalid, KeyReused, Upgrade, Headers, Failed, Internal, Damaged,
	Unavailable, RouteFull, Expired, Message, UnknownOp, Channel, NotSubscribed, Calls, Connections, Open, Waiting, Stored, Webhooks, Subscriptions, Bytes, NoTokens,
	NoStream, GoneStream, StreamTaken, StreamType, StreamSeq, StreamClosed, ProducerStale, ProducerGap,
}
