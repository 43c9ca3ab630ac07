// Package engine makes an MP3 of a media file. [Engine.Convert] is the whole way; the functions call each other in this order:
//
//  1. [Engine.plan] asks container.Open what the file is, and container.File.Complete whether its end is there.
//  2. planMP4 reads the index of an MP4 (mp4.Read): ffmpeg will get its sound only, as Matroska that is written on the fly.
//     planPipe leaves any other file as it is, but for what is too large to hold in memory (container.File.Sound).
//     planTemporary copies an MP4 whose index only a demuxer that seeks can read into a file without a name.
//  3. probe asks ffprobe what is in it, where no index tells.
//  4. encoding turns the options and the plan into what ffmpeg is to do, and tells how long the MP3 will be.
//  5. gain measures the loudness, when the options ask for that.
//  6. output.begin writes the ID3 tag (tagOf). ffmpeg.Tool.Encode runs ffmpeg, to which the plan's feed writes the file and
//     whose frames output.take copies to the destination, behind room for one frame.
//  7. check compares what was made with what was expected. An exit code of 0 proves nothing: ffmpeg exits so for a file that
//     was cut. The MP3 counts when its frames last as long as the file says, and no limit was met.
//  8. output.end fills the room with the Xing or Info frame, which tells players length, seek points and gaps.
//
// Whatever goes wrong on the way becomes a [Failure] in one place, failure.
package engine
