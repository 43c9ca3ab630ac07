// Package engine makes an MP3 of a media file. [Engine.Convert] is the whole way; the functions call each other in this
// order:
//
//  1. plan asks container.Open what the file is, and container.File.Complete whether its end is there. planMP4 reads
//     the index of an MP4 (mp4.Read): ffmpeg will get only the sound, as Matroska that is written on the fly. planPipe
//     leaves any other file as it is, but for what is too large to hold in memory (container.File.Sound). planTemporary
//     copies an MP4 whose index only a demuxer that seeks can read.
//  2. choose picks the track of sound. probe asks ffprobe what is in the file, where no index tells.
//  3. encoding turns options and plan into what ffmpeg is to do, and tells how long the MP3 will be.
//  4. gain measures the loudness, when the options ask for that.
//  5. ffmpeg.Tool.Encode runs ffmpeg: the plan feeds it, and output.take copies its frames to the destination, with
//     what of long pauses ffmpeg leaves out, behind the ID3 tag and room for chapters and one frame.
//  6. check compares what was made with what was expected, because ffmpeg exits with 0 for a file that was cut, too.
//  7. output.end fills the room with the chapters and the Xing or Info frame, which tells players length, seek points
//     and gaps.
//
// When no frame was made of a track, convert goes on with the next one.
//
// Whatever goes wrong on the way becomes a [Failure] in one place, failure.
package engine
