// Package eventing has what Soundstrip's functions need to talk to each other: the CloudEvents that they exchange, the
// HTTP handler that receives one and the sender that posts one.
//
//	type                                        producer  consumer  data
//	dev.soundstrip.video.uploaded.v1            upload    convert   VideoUploaded
//	dev.soundstrip.audio.converted.v1           convert   notify    AudioConverted
//	dev.soundstrip.conversion.failed.v1         convert   notify    ConversionFailed
//	dev.soundstrip.notification.sent.v1         notify    anyone    NotificationSent
//	dev.soundstrip.account.mail.v1              login     notify    AccountMail
//
// Every event is CloudEvents 1.0.2 with JSON data. Its source is the function's path (/soundstrip/upload), its subject
// the job's id, its id is made of job, step and round, so that a repeat carries the same id. The extensions traceparent
// and tracestate carry W3C Trace Context. Events refer to media and never carry it; they stay below 64 KiB.
//
// An event is delivered at least once: a receiver must do no harm when one comes twice. What a receiver answers decides
// what becomes of the event: see [Reject], [RetryAfter] and [Busy].
package eventing
