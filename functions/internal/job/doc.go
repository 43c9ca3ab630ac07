// Package job keeps the jobs, one a video. A job is state, lease and outbox in one document, so that it changes
// atomically without transactions.
//
//	stored ──> queued ──> converting ──> converted ──> notified
//	   │          │  <──────── │              │            │
//	   └──────────┴─────┬──────┘              └─────┬──────┘
//	                    v                           v
//	    failed, cancelled, handed_over ────────> expired
//
//	stored      The video is kept, and its event is still to be sent. The broker takes the event, or a worker claims it.
//	queued      The broker has the event. A worker claims the job.
//	converting  A worker holds the lease. It ends with an MP3, a failure, or is given back; or the lease runs out.
//	converted   The MP3 is kept. It is left when the owner was told.
//	notified    The owner knows. It is left when the job's time is up.
//	failed      There will be no MP3. The owner may start the job anew.
//	cancelled   The owner wanted no MP3 any more, and may start the job anew.
//	expired     The files are gone. It is not left.
//	handed_over An old program took the event, and nothing more was heard. Unless the MP3 is there, the owner may start
//	            the job anew, and a worker may still claim it.
//
// The document is deleted by its owner only, in any state. These are all transitions, from the table in the code:
//
//	step     from                                                 to          who           guard
//	Queued   stored                                               queued      upload, jobs  the broker took the event
//	Resent   stored                                               queued      sweep         the broker took the event
//	Claim    stored, queued, converting, handed_over              converting  convert       no lease runs
//	Finish   converting                                           converted   convert       the epoch is the worker's
//	Fail     converting                                           failed      convert       the epoch is the worker's
//	Release  converting                                           queued      convert       the epoch is the worker's
//	GiveUp   stored, queued, converting                           failed      sweep         no lease runs
//	Noticed  converted, handed_over                               notified    notify        every channel is done
//	Cancel   stored, queued, converting                           cancelled   the owner
//	Retry    failed, cancelled, handed_over                       stored      the owner     the video is kept
//	Expire   converted, notified, failed, cancelled, handed_over  expired     sweep         its time is up
//	HandOver queued, converted                                    handed_over sweep         nobody answered the event
package job
