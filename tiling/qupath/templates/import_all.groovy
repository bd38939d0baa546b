// Glands and proposed regions of a run, into all images of a project: Run > Run for project.
// Objects of an earlier import are replaced. What you drew, changed, or took into a region of class Region* stays as it is.
import java.util.zip.GZIPInputStream
import qupath.lib.io.PathIO
import qupath.lib.scripting.ScriptAttributes
import static qupath.lib.scripting.QP.*

@FIND_SLIDE@
if (!found) {
    println "${image}: skipped, no slide of this run has its name"
    return
}
// This script lies in the results: wherever they were copied to, the outlines are beside it.
def results
try {
    results = new File(getProperty(ScriptAttributes.FILE_PATH)).getParentFile().getParentFile()
} catch (MissingPropertyException error) {
    println "${image}: NOT DONE, open the script from the folder qupath of the results instead of pasting it"
    return
}
def slide = found[0].id
def glandFile = new File(results, "glands/${slide}.@ENDING@")
def proposalFile = new File(results, "proposals/${slide}.geojson")
if (!glandFile.isFile()) {
    println "${image}: NOT DONE, there is no ${glandFile}: the slide failed or is not finished, see report.html"
    return
}

// Outlines know the size of the slide they were made for.
def server = getCurrentServer()
def problem = { File file ->
    def head = new byte[4096]
    file.withInputStream { raw -> (file.name.endsWith('.gz') ? new GZIPInputStream(raw) : raw).readNBytes(head, 0, head.length) }
    def size = new String(head, 'UTF-8') =~ '"viewer": \\{"width": (\\d+), "height": (\\d+)'
    if (!size.find()) {
        return "${file} does not say for which size it was made"
    }
    def (width, height) = [size.group(1) as int, size.group(2) as int]
    return width == server.getWidth() && height == server.getHeight() ? null :
        "${file} was made for ${width} x ${height} px, this image has ${server.getWidth()} x ${server.getHeight()}: another slide, or export.origin?"
}
def sources = [glandFile, proposalFile].findAll { it.isFile() }
def refused = sources.collect(problem).find { it }
if (refused) {
    println "${image}: NOT DONE, ${refused}"
    return
}

def gland = @GLAND_CLASS@
def mark = 'gland pipeline'
// What an annotation is like; kept beside it, so that a later import sees whether someone changed it.
def state = { object ->
    def roi = object.getROI()
    def numbers = [roi.getNumPoints()] + [roi.getArea(), roi.getCentroidX(), roi.getCentroidY()].collect { Math.round(100 * it) }
    "${object.getPathClass()}, ${object.getName()}, ${numbers.join(' ')}".toString()
}
def untouched = { object ->
    object.isDetection() ? (object.getPathClass() as String) == gland : object.getMetadata().get(mark) == state(object)
}

def hierarchy = getCurrentHierarchy()
def regions = hierarchy.getAnnotationObjects().findAll { "${it.getPathClass()}".startsWith('Region*') }.collect { it.getROI().getGeometry() }
def inRegion = { object -> object.isAnnotation() && regions.any { it.intersects(object.getROI().getGeometry()) } }
// Our ids are made from slide and place (UUID version 5); what is drawn in QuPath has random ones (version 4).
def ours = hierarchy.getAllObjects(false).findAll { it.getID().version() == 5 }
def old = ours.findAll { untouched(it) && !inRegion(it) }
def kept = ours.collect { it.getID() } as Set
kept.removeAll(old.collect { it.getID() })

def glands
def proposed
try {
    glands = PathIO.readObjects(glandFile)
    proposed = proposalFile.isFile() ? PathIO.readObjects(proposalFile) : []
} catch (Exception error) {
    println "${image}: NOT DONE, ${error}"
    return
}
// Glands that are annotations already need no second outline inside a proposed region.
if (glands.any { it.isAnnotation() }) {
    proposed = proposed.findAll { (it.getPathClass() as String) != gland }
}
def all = glands + proposed
def fresh = all.findAll { !kept.contains(it.getID()) && !inRegion(it) }
fresh.findAll { it.isAnnotation() }.each { it.getMetadata().put(mark, state(it)) }
hierarchy.removeObjects(old as Set, true)
hierarchy.addObjects(fresh)
def squares = proposed.count { (it.getPathClass() as String) == 'Proposed*' }
println "${image}: slide ${slide}, ${glands.size()} glands, ${squares} proposed regions with ${proposed.size() - squares} outlines; " +
    "${fresh.size()} objects added in place of ${old.size()}, ${kept.size()} kept that were changed or lie in a Region*, " +
    "${all.size() - fresh.size()} left out there"
