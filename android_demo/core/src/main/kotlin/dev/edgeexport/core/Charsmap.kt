package dev.edgeexport.core

import java.nio.ByteBuffer
import java.nio.ByteOrder

/**
 * sentencepiece's precompiled normalisation rules: a darts-clone double array over UTF-8 bytes.
 *
 * [blob]: the size of the trie (uint32), the trie (uint32 units), then the replacements it points into, each ended by a
 * zero byte; all little-endian. Of a node: label (bits 0-7), whether a rule ends here (8), and how far its children are
 * (offset in 10-30, times 256 where bit 9 is set): the child for byte b is at (node ^ offset) ^ b, and the rule's value
 * in the unit at node ^ offset, whose bit 31 is set. A value is a place in the replacements.
 *
 * [FormatException] where it is truncated, or a unit points outside; so that looking up never can.
 */
internal class Charsmap(blob: ByteArray) {
    private val units: IntArray
    private val replacements: ByteArray

    init {
        if (blob.isEmpty()) {
            units = IntArray(0)
            replacements = blob
        } else {
            val bytes = ByteBuffer.wrap(blob).order(ByteOrder.LITTLE_ENDIAN)
            val size = if (blob.size < LENGTH) 0 else bytes.int.toLong() and 0xFFFFFFFFL
            require(size in 1..blob.size - LENGTH && size % UNIT == 0L, "is truncated")
            units = IntArray((size / UNIT).toInt()).also { bytes.asIntBuffer().get(it) }
            replacements = blob.copyOfRange(LENGTH + size.toInt(), blob.size)
            checkLinks()
        }
    }

    /** What [longest] found: so many bytes of text, and where their replacement begins. */
    class Match(val length: Int, val replacement: ByteArray)

    /** What the longest rule that matches at [start] makes of it; null when none does. */
    fun longest(data: ByteArray, start: Int): Match? {
        if (units.isEmpty()) return null
        var matched = 0
        var value = 0
        var node = offset(units[0])
        for (position in start until data.size) {
            val byte = data[position].toInt() and 0xFF
            node = node xor byte
            val unit = units[node]
            if (unit and LABEL != byte) break
            node = node xor offset(unit)
            if (unit and ENDS != 0) {
                matched = position + 1 - start
                value = units[node] and Int.MAX_VALUE
            }
        }
        return if (matched == 0) null else Match(matched, replacementAt(value))
    }

    private fun replacementAt(value: Int): ByteArray {
        var end = value
        while (replacements[end] != 0.toByte()) end++
        return replacements.copyOfRange(value, end)
    }

    /** Every node's children and value lie inside, and every value is where UTF-8 text starts. */
    private fun checkLinks() {
        require(units[0] >= 0, "has no root")
        val nodes = units.indices.filter { units[it] >= 0 }
        require(nodes.all { target(it) or 0xFF < units.size }, "points outside its trie")
        val values = nodes.filter { units[it] and ENDS != 0 }.map { units[target(it)] and Int.MAX_VALUE }
        require(values.all { it < replacements.size }, "points outside its replacements")
        require(replacements.isEmpty() || replacements.last() == 0.toByte(), "does not end its last replacement")
        val starts = values.all { replacements[it].toInt() and 0xC0 != 0x80 }
        require(textOf(replacements) != null && starts, "holds broken UTF-8")
    }

    private fun target(node: Int): Int = node xor offset(units[node])

    private fun offset(unit: Int): Int = unit ushr 10 shl (unit and FAR ushr 6)

    private fun require(condition: Boolean, problem: String) {
        if (!condition) throw FormatException("charsmap $problem")
    }

    private companion object {
        const val LENGTH = 4
        const val UNIT = 4
        const val LABEL = (1 shl 31) or 0xFF
        const val ENDS = 1 shl 8
        const val FAR = 1 shl 9
    }
}
